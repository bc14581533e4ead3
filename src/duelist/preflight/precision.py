"""Whether a half-precision weight can move at all by the steps that training takes.

A weight w with 2^e <= |w| < 2^(e+1) has neighbours 2^e·eps away, eps = 2^-7 in bfloat16. A step below half of that is
rounded off. A step of Adam's is about the learning rate, however small the gradient.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import torch

from duelist.errors import ModelError, RecipeError
from duelist.models.policy.config import PolicyConfig

MEDIAN = 0.674  # of |w|, where w is normal with standard deviation 1
INITIALIZER_RANGE = 0.02  # of a configuration that does not say
STEPS_OF_LEARNING_RATE = ("adam", "lion")  # optimizers, by a part of their name


def require_moving_weights(policy: PolicyConfig, model: Any, trl_configs: Mapping[str, Any]) -> None:
    """Refuse to train all of a half-precision policy at a learning rate at which most of its weights cannot move.

    Args:
        policy: the policy.
        model: its configuration; None where it is out of reach.
        trl_configs: TRL's configurations, by their keys in the recipe.

    Raises:
        ModelError: if `policy.architecture` is no model's configuration.
        RecipeError: naming type and learning rate.
    """
    dtype = _weights_type(policy, model)
    if policy.adapter != "none" or dtype is None or torch.finfo(dtype).bits > 16:
        return
    scale = _initializer_range(model or architecture_config(policy))
    least = half_spacing(MEDIAN * scale, dtype)
    for key, config in trl_configs.items():
        optimizer = str(getattr(config.optim, "value", config.optim))
        rounds_at_random = "stochastic" in str(config.optim_args)
        if rounds_at_random or not any(name in optimizer for name in STEPS_OF_LEARNING_RATE):
            continue
        if config.learning_rate < least:
            short = str(dtype).removeprefix("torch.")
            raise RecipeError(
                f"Most weights must be able to move, but the policy's are all trained in {short}, and `{key}."
                f"learning_rate` is {config.learning_rate:g}: a step of {optimizer} is about that, and steps below "
                f"{least:.2g} are lost in the rounding of a typical weight ({MEDIAN * scale:.2g}). Set "
                f"`policy.dtype: float32` and `{key}.bf16: true`, or raise the learning rate."
            )


def half_spacing(weight: float, dtype: torch.dtype) -> float:
    """The largest step from `weight` that is rounded off."""
    return float(2.0 ** math.floor(math.log2(weight)) * torch.finfo(dtype).eps / 2)


def architecture_config(policy: PolicyConfig) -> Any:
    """The model configuration that `policy.architecture` describes; None without one.

    Raises:
        ModelError: if it describes none.
    """
    from transformers import AutoConfig

    if policy.architecture is None:
        return None
    try:
        return AutoConfig.for_model(**policy.architecture)
    except (TypeError, ValueError) as error:
        raise ModelError(f"policy.architecture must be a model's configuration, but it is refused: {error}") from error


def _weights_type(policy: PolicyConfig, model: Any) -> torch.dtype | None:
    """The type that the weights will have; None if it is not known yet."""
    named = policy.load.get("dtype", policy.load.get("torch_dtype", policy.dtype))
    named = getattr(model, "dtype", None) if named == "auto" else named
    dtype = getattr(torch, str(named).removeprefix("torch."), None)
    return dtype if isinstance(dtype, torch.dtype) and dtype.is_floating_point else None


def _initializer_range(model: Any) -> float:
    text = model.get_text_config() if model is not None else None
    for name in ("initializer_range", "init_std"):
        found = getattr(text, name, None)
        if isinstance(found, int | float) and found > 0:
            return float(found)
    return INITIALIZER_RANGE
