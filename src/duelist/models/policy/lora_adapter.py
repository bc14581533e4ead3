"""LoRA training: only the adapter is trained. The reference is the base model without it, or a frozen adapter."""

from __future__ import annotations

import json
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, final

import torch
from peft import (
    LoraConfig,
    PeftConfig,
    PeftModel,
    PromptLearningConfig,
    get_peft_model,
    get_peft_model_state_dict,
    set_peft_model_state_dict,
)
from peft.utils.save_and_load import load_peft_weights
from trl.trainer.utils import use_adapter

from duelist.errors import ModelError
from duelist.models.policy.lora_matrices import attention_projections
from duelist.models.policy.process_state import global_generators_kept
from duelist.models.policy.sharding import is_sharded
from duelist.models.policy.trained_flags import trained_kept
from duelist.settings.validation import expanded

# TRL's name for the adapter that holds the reference (`DPOTrainer` looks for it by this name).
REFERENCE = "ref"


@final
class LoraAdapter:
    """Adapter `default` of a PEFT model. `AllParameters` has the same members.

    Attributes:
        artifact: name of the folder with these weights in a study.
        model: the policy; within `as_reference`, the reference.
        reference_model: the reference if it is a separate model; None here, because it is another state of `model`.
        reference_folder: folder from which the reference's weights were read; None for the base model.
    """

    artifact = "adapter"
    reference_model = None

    def __init__(self, model: Any) -> None:
        self.model = model
        self._is_reference = False
        self.reference_folder: Path | None = None

    def parameters(self) -> Iterator[tuple[str, torch.Tensor, bool]]:
        """Yield each parameter of the base model and of the adapter: name, tensor, whether it is the adapter's."""
        for name, parameter in self.model.named_parameters():
            yield name, parameter, "lora_" in name

    @contextmanager
    def as_reference(self) -> Iterator[None]:
        """Activate the reference's adapter, or no adapter, within the block; a block within it changes nothing."""
        if self._is_reference:
            yield
            return
        reference = REFERENCE if REFERENCE in self.model.peft_config else None
        with trained_kept(self.model), use_adapter(self.model, reference):
            self._is_reference = True
            try:
                yield
            finally:
                self._is_reference = False

    def set_reference(self, folder: Path | None) -> None:
        """Set the reference to the adapter saved in `folder`, or to the base model (None)."""
        with trained_kept(self.model):
            if REFERENCE in self.model.peft_config:
                self.model.delete_adapter(REFERENCE)
            if folder is not None:
                self.model.load_adapter(str(folder), REFERENCE, is_trainable=False)
                self.model.set_adapter("default")
        self.reference_folder = folder

    def save(self, folder: Path) -> None:
        """Write the adapter in PEFT's format, loadable with `PeftModel.from_pretrained`."""
        # Of a sharded model PEFT would gather all weights, in a call that every process has to make.
        own = {n: p for n, p in self.model.named_parameters() if "default" in n} if is_sharded(self.model) else None
        self.model.save_pretrained(str(folder), selected_adapters=["default"], state_dict=own)
        # PEFT stores target_modules as a set, whose order differs from process to process.
        file = folder / "adapter_config.json"
        config = json.loads(file.read_text(encoding="utf-8"))
        if isinstance(config.get("target_modules"), list):
            config["target_modules"] = sorted(config["target_modules"])
        file.write_text(json.dumps(config, indent=2, sort_keys=True) + "\n", encoding="utf-8")

    def load(self, folder: Path) -> None:
        """Replace the adapter's weights with those saved in `folder`.

        Raises:
            ModelError: if they cannot be read, or do not have exactly these weights' names and shapes.
        """
        try:
            weights = load_peft_weights(str(folder), device=str(next(self.model.parameters()).device))
        except (OSError, ValueError) as error:
            raise ModelError(f"A saved adapter must lie at {folder}, but it cannot be read: {error}") from error
        own = get_peft_model_state_dict(self.model, adapter_name="default")
        if {k: v.shape for k, v in own.items()} != {k: v.shape for k, v in weights.items()}:
            odd = sorted(set(own) ^ set(weights)) or [k for k in own if own[k].shape != weights[k].shape]
            raise ModelError(
                f"The adapter at {folder} must fit this model with this recipe's policy.lora, but they differ at "
                f"{odd[0]} (and {len(odd) - 1} more): use the settings the adapter was made with."
            )
        set_peft_model_state_dict(self.model, weights, adapter_name="default")


def fresh_adapter(base: Any, lora: dict[str, Any], seed: int, name: str) -> LoraAdapter:
    """Create an adapter, drawn from `seed`, on the base model called `name`. It has no effect yet: its B is zero.

    Raises:
        ModelError: if the LoRA settings do not fit the model.
    """
    with global_generators_kept(), warnings.catch_warnings():
        # PEFT corrects fan_in_fan_out for GPT-2's layers and warns about it.
        warnings.filterwarnings("ignore", message="fan_in_fan_out is set to False")
        torch.manual_seed(seed)  # LoRA's A is drawn on the CPU, the same for every device
        try:
            model = get_peft_model(base, LoraConfig(task_type="CAUSAL_LM", **lora))
        except (TypeError, ValueError) as error:
            names = ", ".join(attention_projections(base))
            raise ModelError(
                f"policy.lora must be arguments of peft.LoraConfig that fit {name}, but PEFT refused them: {error}. "
                f"Correct them{f'; target_modules: [{names}] adapts its attention' if names else ''}."
            ) from error
    return LoraAdapter(model.eval())


def saved_adapter(base: Any, adapter: Path, name: str) -> LoraAdapter:
    """Load an adapter in PEFT's format onto the base model called `name`.

    Raises:
        ModelError: if it cannot be loaded, or was trained on another model.
    """
    try:
        settings = PeftConfig.from_pretrained(str(adapter))
    except Exception as error:  # PEFT, the Hub and JSON each raise their own errors
        raise ModelError(
            f"The adapter must be a folder in PEFT's format or a name on the hub, but {adapter} cannot be read: {error}"
        ) from error
    if isinstance(settings, PromptLearningConfig):
        raise ModelError(
            f"The adapter must be of the LoRA kind, but {adapter} is {settings.peft_type.value}: give a LoRA adapter."
        )
    made_on = settings.base_model_name_or_path
    if made_on and not _names(made_on) & _names(name):
        raise ModelError(
            f"The adapter must belong to the model {name}, but {adapter} says that it was trained on {made_on}: give "
            "that model, or correct base_model_name_or_path in its adapter_config.json."
        )
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("error", message="Found missing adapter keys")
            model = PeftModel.from_pretrained(base, str(adapter), is_trainable=True)
        weights = load_peft_weights(str(adapter), device="cpu")
    except Exception as error:  # a wrong shape is a RuntimeError, a missing weight a warning
        raise ModelError(
            f"The adapter {adapter} must fit the model {name}, but it does not: {str(error)[:300]} Give the model that "
            "it was trained on."
        ) from error
    # PEFT skips weights for which the model has no layer.
    own = get_peft_model_state_dict(model, adapter_name="default", save_embedding_layers=False)
    unused = sorted(key for key in weights if "lora_" in key and key not in own)
    if unused:
        raise ModelError(
            f"The adapter {adapter} must fit the model {name}, but the model has no place for {len(unused)} of its "
            f"weights, such as {unused[0]}. Give the model that it was trained on."
        )
    return LoraAdapter(model.eval())


def _names(model: str) -> set[str]:
    """Return the names of a model: the last part of its path or Hub name, and of the target if that is a link."""
    path = expanded(model)
    return {path.name, path.resolve().name} - {""}
