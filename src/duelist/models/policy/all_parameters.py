"""Full fine-tuning: all parameters are trained. The reference is a frozen copy of the base model, or another model."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, final

import torch
from transformers import AutoModelForCausalLM

from duelist.errors import ModelError
from duelist.models.policy.process_state import global_generators_kept


@final
class AllParameters:
    """All parameters of `model`, trained. `LoraAdapter` has the same members and documents them.

    Two models are in memory, and a third while the reference is neither the base model nor the policy.

    Args:
        model: the trained model.
        base: the default reference; frozen.
        tokenizer: saved with the weights, so that a saved folder is a complete model.
    """

    artifact = "model"

    def __init__(self, model: Any, base: Any, tokenizer: Any) -> None:
        self.model = self._trained = model.eval().requires_grad_(True)
        self._base = self.reference_model = base.eval().requires_grad_(False)
        self._tokenizer = tokenizer
        self.reference_folder: Path | None = None

    def parameters(self) -> Iterator[tuple[str, torch.Tensor, bool]]:
        """Yield each parameter of the base model and of the trained one: name, tensor, whether it is trained."""
        for name, parameter in self._base.named_parameters():
            yield name, parameter, False
        for name, parameter in self._trained.named_parameters():
            yield name, parameter, True

    @contextmanager
    def as_reference(self) -> Iterator[None]:
        """Make `model` the reference within the block."""
        before, self.model = self.model, self.reference_model
        try:
            yield
        finally:
            self.model = before

    def set_reference(self, folder: Path | None) -> None:
        """Set the reference to the model saved in `folder`, or to the base model (None)."""
        if folder == self.reference_folder:
            return
        reference = self._base
        if folder is not None:
            reference = copy.deepcopy(self._base) if self.reference_model is self._base else self.reference_model
            _read_into(reference, folder)
        self.reference_model, self.reference_folder = reference, folder

    def save(self, folder: Path) -> None:
        """Write the model and tokenizer in transformers' format, loadable with `from_pretrained`."""
        self._trained.save_pretrained(str(folder))
        self._tokenizer.save_pretrained(str(folder))

    def load(self, folder: Path) -> None:
        """Replace the trained weights with those saved in `folder`.

        Raises:
            ModelError: if they cannot be read, or do not have exactly these weights' names and shapes.
        """
        _read_into(self._trained, folder)


def _read_into(model: Any, folder: Path) -> None:
    """Load the weights saved in `folder` into `model`.

    Raises:
        ModelError: if they cannot be read or do not fit.
    """
    try:
        with global_generators_kept():
            found, report = AutoModelForCausalLM.from_pretrained(
                str(folder), dtype=model.dtype, output_loading_info=True
            )
    except Exception as error:  # transformers and safetensors each raise their own errors
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise ModelError(
            f"A model in transformers' format must lie at {folder}, but it cannot be read: {reason}"
        ) from error
    own, weights = model.state_dict(), found.state_dict()
    odd = sorted(set(own) ^ set(weights) | set(report["missing_keys"]))
    odd += [name for name in own if name in weights and own[name].shape != weights[name].shape]
    if odd:
        raise ModelError(
            f"The model at {folder} must have the weights of {model.name_or_path}, but they differ at {odd[0]} (and "
            f"{len(odd) - 1} more): give a model of the same architecture and size."
        )
    model.load_state_dict(weights)
