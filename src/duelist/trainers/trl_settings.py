"""Recipe settings passed to TRL's configurations: the rejected ones, and those that Duelist fills in."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from duelist.errors import RecipeError
from duelist.settings.context import Context, Rounding
from duelist.settings.library_arguments import require_arguments
from duelist.settings.validation import nearest

# Keys of TRL's configurations that Duelist decides, and where a recipe sets them instead.
DECIDED_ELSEWHERE = {
    "beta": "set the recipe's `beta`, which the acquisition and the evaluation use as well",
    "seed": "set the recipe's `seed`",
    "data_seed": "set the recipe's `seed`",
    "output_dir": "the study's folder holds what is trained",
    "max_length": "Duelist never cuts a sequence: one that does not fit is refused",
    "truncation_mode": "Duelist never cuts a sequence: one that does not fit is refused",
    "precompute_ref_log_probs": "TRL would take them from the wrong reference when an adapter is trained further",
    "sync_ref_model": "set trainer.reference to `initial` or `previous`",
    "disable_tqdm": "Duelist shows its own progress; `--quiet` turns it off",
    "fsdp": "set `trainer.processes` and `trainer.sharded`, which also shard on a CPU, where TRL's `fsdp` copies",
    "fsdp_config": "set `trainer.processes` and `trainer.sharded`",
    "push_to_hub": "upload the study's adapter/ (or model/) folder with `hf upload`",
    "resume_from_checkpoint": "a study resumes by itself",
}
# Optimizers whose step size is close to the learning rate, by a part of their name.
STEPS_OF_LEARNING_RATE = ("adam", "lion")
# TRL's own defaults are bf16 and gradient checkpointing, meant for GPUs.
ON_CPU = {"use_cpu": True, "bf16": False, "gradient_checkpointing": False}


@dataclass(frozen=True)
class TrlSettings:
    """Settings of a recipe that are passed to one of TRL's configurations.

    Attributes:
        config: its name, e.g. `DPOConfig`.
        train: the settings.
        key: where the recipe has them.
    """

    config: str
    train: Mapping[str, Any]
    key: str

    def filled(self, *, on_cpu: bool) -> Any:
        """Return TRL's configuration with its defaults filled in, which makes TRL check the values early.

        Args:
            on_cpu: whether the model will be on the CPU.

        Raises:
            RecipeError: if TRL rejects a value. Checked early, because a study with labels cannot change its recipe.
        """
        import trl

        return trl_config(getattr(trl, self.config), self.train, self.key, on_cpu=on_cpu, seed=0, output_dir="unused")


def require_accepted(settings: Sequence[TrlSettings], context: Context) -> None:
    """Let TRL check the settings it receives, and reject steps too small for the precision of most weights.

    Raises:
        RecipeError: if TRL rejects a value, or a learning rate is lost in the weights' rounding.
    """
    for handed_on in settings:
        if not context.lookups.may_import(f"the values of `{handed_on.key}`"):
            continue
        config = handed_on.filled(on_cpu=context.on_cpu)
        if context.rounding is not None:
            _require_moving_weights(config, handed_on.key, context.rounding)


def _require_moving_weights(config: Any, key: str, rounding: Rounding) -> None:
    optimizer = str(getattr(config.optim, "value", config.optim))
    rounds_at_random = "stochastic" in str(config.optim_args)
    if rounds_at_random or not any(name in optimizer for name in STEPS_OF_LEARNING_RATE):
        return
    if config.learning_rate < rounding.least:
        raise RecipeError(
            f"Most weights must be able to move, but the policy's are all trained in {rounding.dtype}, and `{key}."
            f"learning_rate` is {config.learning_rate:g}: a step of {optimizer} is about that, and steps below "
            f"{rounding.least:.2g} are lost in the rounding of a typical weight ({rounding.weight:.2g}). Set "
            f"`policy.dtype: float32` and `{key}.bf16: true`, or raise the learning rate."
        )


def require_trl_arguments(train: Mapping[str, Any], config: str) -> None:
    """Check that settings are arguments of `trl.CONFIG` that Duelist leaves to the recipe.

    Raises:
        ValueError: if Duelist decides a key, or it is unknown; the message names the nearest valid key.
    """
    require_arguments(train, config, DECIDED_ELSEWHERE)


def require_installed_trackers(report_to: Any, key: str) -> None:
    """Raise an error for a tracker that transformers does not know or that is not installed.

    Args:
        report_to: the setting, as transformers takes it.
        key: the key of the settings in the recipe.

    Raises:
        RecipeError: if there is such a tracker; the message names it.
    """
    if report_to is None or report_to in ("none", "all", ["none"], ["all"]):
        return
    from transformers.integrations import get_available_reporting_integrations

    installed = get_available_reporting_integrations()
    for name in report_to if isinstance(report_to, list | tuple) else [report_to]:
        if name not in installed:
            raise RecipeError(
                f"`{key}.report_to` must name trackers that are installed, but {name!r} is not: install its package, "
                f"correct the name, or remove the key. Installed: {', '.join(installed) or 'none'}."
                f"{nearest(str(name), installed)}"
            )


def trl_config(config_type: type, train: Mapping[str, Any], key: str, *, on_cpu: bool, **own: Any) -> Any:
    """Return a TRL configuration from a recipe's settings; TRL itself saves, reports and shows nothing.

    Args:
        config_type: `trl.DPOConfig` or a similar class.
        train: the recipe's settings.
        key: their key in the recipe, for the error message.
        on_cpu: whether the model is on the CPU.
        **own: arguments that Duelist decides, such as the seed and the output folder.

    Raises:
        RecipeError: if TRL rejects a value, or a tracker is not installed.
    """
    require_installed_trackers(train.get("report_to"), key)
    defaults = {"save_strategy": "no", "report_to": [], "logging_steps": 10} | (ON_CPU if on_cpu else {})
    own["seed"] %= 2**32
    try:
        return config_type(**{**defaults, **train, **own, "disable_tqdm": True})
    except Exception as error:  # its type depends on the setting, e.g. a missing package
        raise RecipeError(
            f"`{key}` must be arguments of trl.{config_type.__name__}, but it refused them: {error}"
        ) from error
