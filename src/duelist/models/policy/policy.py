"""Policy being aligned: a causal language model, its trained weights, tokenizer and reference."""

from __future__ import annotations

import copy
import hashlib
from collections.abc import Mapping
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import torch
from peft import PeftModel
from peft.tuners.lora.layer import LoraLayer

from duelist.errors import ModelError
from duelist.models.policy.all_parameters import AllParameters
from duelist.models.policy.config import PolicyConfig
from duelist.models.policy.loading import base_arguments, load_base
from duelist.models.policy.lora_adapter import LoraAdapter, fresh_adapter, saved_adapter
from duelist.models.policy.model_configuration import computed_with
from duelist.models.policy.positions import context_length
from duelist.models.policy.probes import require_causal
from duelist.settings.validation import expanded


class Policy:
    """Causal language model in training, and its reference.

    `weights` determines the trained parameters and the reference. With a LoRA adapter, the reference is the model with
    the adapter switched off. With all parameters trained, the reference is a frozen copy.

    Args:
        weights: the trained parameters and the reference.
        tokenizer: the model's tokenizer.
        name: the base model's folder or name on the Hugging Face Hub, or a name for messages if it is in memory.
        base_arguments: other arguments that loaded the base model: revision, type of its weights ...
        config: the settings it was loaded with; None if it is in memory.

    Raises:
        ModelError: if the model is not causal.
    """

    def __init__(
        self,
        weights: LoraAdapter | AllParameters,
        tokenizer: Any,
        name: str,
        base_arguments: Mapping[str, Any] | None = None,
        config: PolicyConfig | None = None,
    ) -> None:
        self.weights = weights
        self.tokenizer = tokenizer
        self.name = name
        self.base_arguments = dict(base_arguments or {})
        self.config = config
        require_causal(self.model)
        stop = self.model.generation_config.eos_token_id
        stop = tokenizer.eos_token_id if stop is None else stop
        self.stop_token_ids = frozenset(stop if isinstance(stop, list) else [stop])  # tokens that end a response

    @staticmethod
    def load(config: PolicyConfig, seed: int) -> Policy:
        """Load the base model and tokenizer, and the weights that the study starts from.

        Args:
            config: the settings. Without a starting adapter or model, the policy begins as the base model.
            seed: seed of a fresh adapter.

        Raises:
            ModelError: if a part cannot be loaded or does not fit the model.
        """
        base, tokenizer = load_base(config)
        weights: LoraAdapter | AllParameters
        if config.adapter == "none":
            weights = AllParameters(copy.deepcopy(base), base, tokenizer)
            if config.initial_model is not None:
                weights.load(expanded(config.initial_model))
        elif config.initial_adapter is not None:
            weights = saved_adapter(base, expanded(config.initial_adapter), config.model)
        else:
            weights = fresh_adapter(base, config.lora, seed, config.model)
        return Policy(weights, tokenizer, config.model, base_arguments(config), config)

    @staticmethod
    def of(model: Any, tokenizer: Any, name: str = "the model in memory", reference: Any | None = None) -> Policy:
        """Return a policy from a model and a tokenizer in memory.

        Args:
            model: a PEFT model, whose adapter is trained, or a plain model, trained in full.
            tokenizer: its tokenizer.
            name: the model's name in messages.
            reference: for a plain model, a copy of it as the reference.

        Raises:
            ModelError: if a plain model is given without a reference, or the tokenizer has no end-of-sequence token.
        """
        if not isinstance(model, PeftModel) and reference is None:
            raise ModelError(
                f"A policy must be a PEFT model with a LoRA adapter, or come with a reference, but got "
                f"{type(model).__name__} alone: wrap it with peft.get_peft_model, or pass a copy of it as `reference`."
            )
        if getattr(tokenizer, "eos_token_id", None) is None:
            raise ModelError(f"The tokenizer of {name} must have an end-of-sequence token, but has none: set one.")
        adapted = isinstance(model, PeftModel)
        return Policy(LoraAdapter(model) if adapted else AllParameters(model, reference, tokenizer), tokenizer, name)

    @property
    def model(self) -> Any:
        """The policy's model; within `as_reference`, it computes the reference."""
        return self.weights.model

    @property
    def device(self) -> torch.device:
        """Device of the weights."""
        return next(self.model.parameters()).device

    @property
    def context_length(self) -> int | None:
        """Longest sequence that the model takes, in tokens; None if its configuration does not define it."""
        return context_length(self.model.config)

    @property
    def reference_folder(self) -> Path | None:
        """Folder from which the reference's weights were read; None for the base model."""
        return self.weights.reference_folder

    def fingerprint(self, trained: bool = True) -> str:
        """Return a hash of everything that the model's logits and gradients depend on.

        It covers all weights (the reference's too), the buffers saved with them, the configuration, the scaling factors
        of adapters, and which weights are trained.

        Args:
            trained: whether to include the trained weights; if false, the hash is of the base model only.
        """
        total = hashlib.blake2b(digest_size=16)
        for name, parameter, is_trained in self.weights.parameters():
            if is_trained and not trained:
                continue
            total.update(f"{name}{tuple(parameter.shape)}{parameter.dtype}".encode())
            total.update(_numbers(parameter) if is_trained else bit_sums(parameter))
        if trained:
            reference = self.weights.reference_model
            for model in [self.model] if reference is None else [self.model, reference]:
                total.update(computed_with(model.config).encode())
                saved = model.state_dict().keys()
                for name, buffer in model.named_buffers():
                    if name in saved:  # other buffers follow from the configuration
                        total.update(name.encode() + bit_sums(buffer))
            if reference is not None and self.reference_folder is not None:  # no longer the base model
                for name, parameter in reference.named_parameters():
                    total.update(name.encode() + bit_sums(parameter))
            own = [(name, p.requires_grad) for name, p, is_trained in self.weights.parameters() if is_trained]
            counted = [name for name, trains in own if trains] or [name for name, _ in own]  # if all are frozen, all
            total.update(repr(sorted(counted)).encode())
        if trained and isinstance(self.model, PeftModel):
            layers = ((n, m) for n, m in self.model.named_modules() if isinstance(m, LoraLayer))
            scaling = {name: dict(layer.scaling) for name, layer in layers}
            total.update(repr((self.model.active_adapters, sorted(scaling.items()))).encode())
        return total.hexdigest()

    def as_reference(self) -> AbstractContextManager[None]:
        """Make `model` compute the reference within the block."""
        return self.weights.as_reference()

    def set_reference(self, folder: Path | None) -> None:
        """Set the reference to the weights saved in `folder`, or to the base model (None)."""
        self.weights.set_reference(folder)

    def save_weights(self, folder: Path) -> None:
        """Write the trained weights into an existing folder, in PEFT's format (adapter) or transformers' (model)."""
        self.weights.save(folder)

    def load_weights(self, folder: Path) -> None:
        """Replace the trained weights with those saved in `folder`.

        Raises:
            ModelError: if they cannot be read, or do not have exactly these weights' names and shapes.
        """
        self.weights.load(folder)


def _numbers(parameter: torch.Tensor) -> bytes:
    return bytes(parameter.detach().reshape(-1).double().cpu().numpy().tobytes())


_WORDS = 1024  # 64-bit words per row


def bit_sums(parameter: torch.Tensor) -> bytes:
    """Return a weight's bits as rows of 64-bit words, summed modulo 2⁶⁴ along rows and along columns.

    The result is the same on every device. It is several times faster than a hash of all bytes, which takes as long as
    loading them. Of a parameter in shards, all processes gather the whole, and call this together.
    """
    gather = getattr(parameter, "full_tensor", None)
    parameter = parameter if gather is None else gather()
    bits = parameter.detach().contiguous().reshape(-1).view(torch.uint8)
    bits = bits.clone() if bits.storage_offset() % 8 else bits
    whole = bits.numel() - bits.numel() % (8 * _WORDS)
    words = bits[:whole].view(torch.int64).unflatten(0, (-1, _WORDS))
    return b"".join(bytes(part.cpu().numpy().tobytes()) for part in (words.sum(0), words.sum(1), bits[whole:]))
