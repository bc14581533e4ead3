"""Matrices of a LoRA adapter, with a check that the adapter trains nothing else."""

from __future__ import annotations

import re

import torch
from peft import PeftModel
from peft.tuners.lora.layer import LoraLayer, ParamWrapper

from duelist.errors import ModelError

_SUPPORTED = (
    "Give the adapter linear target_modules only: no use_dora or other variant, no embeddings, no convolutions, no "
    "modules_to_save, trainable_token_indices, target_parameters or bias."
)

# Parts of attention without text input or without gradient: an index of keys, a second modality.
_NOT_ADAPTED = ("expert", "indexer", "encoder_attn", "cross", "vision", "visual", "audio")


def lora_matrices(model: torch.nn.Module) -> dict[str, torch.nn.Linear]:
    """Return the active LoRA adapter's matrices by parameter name, sorted, and check that it trains nothing else.

    Frozen matrices (LoRA-FA freezes A) are excluded, unless all are frozen.

    Raises:
        ModelError: if there is no such adapter, it is merged or disabled, or it trains anything else.
    """
    adapter = _active_adapter(model)
    matrices: dict[str, torch.nn.Linear] = {}
    for name, layer in model.named_modules():
        if not isinstance(layer, LoraLayer) or adapter not in layer.lora_A:
            continue
        _require_plain_lora(model, name, layer, adapter)
        for part in ("lora_A", "lora_B"):
            matrix = getattr(layer, part)[adapter]
            if not isinstance(matrix, torch.nn.Linear):
                raise ModelError(f"LoRA on linear layers is required, but {name} has {type(matrix)}. {_SUPPORTED}")
            if matrix.weight.dtype == torch.float16:
                raise ModelError(
                    f"Gradients underflow in float16, which {name} has. Load the model in bfloat16 or float32."
                )
            matrices[f"{name}.{part}.{adapter}.weight"] = matrix
    if not matrices:
        raise ModelError(f"A LoRA adapter is required, but adapter {adapter!r} has no LoRA matrix. {_SUPPORTED}")
    unseen = _trained_names(model, adapter) - matrices.keys()
    if unseen:
        raise ModelError(
            f"Every trained parameter must be a LoRA matrix of a linear layer, but {len(unseen)} are not, such as "
            f"{min(unseen)}. {_SUPPORTED}"
        )
    trained = {name: matrix for name, matrix in matrices.items() if matrix.weight.requires_grad}
    return dict(sorted((trained or matrices).items()))


def _require_plain_lora(model: torch.nn.Module, name: str, layer: LoraLayer, adapter: str) -> None:
    """Require an adapted layer with plain LoRA, active and unmerged, that sees every token in its position.

    Raises:
        ModelError: if the layer is different; the message names it.
    """
    if layer.merged:
        raise ModelError(f"The adapter must not be merged, but {name} is. Call unmerge_adapter() first.")
    if layer.disable_adapters:
        raise ModelError(f"The adapter must be enabled, but it is disabled in {name}. Leave disable_adapter().")
    if ".experts." in name:
        raise ModelError(
            f"Adapted layers must see every token in its place, but {name} is an expert of a mixture and sees some "
            f"of them, in any order. {leave_out_experts(model)}"
        )
    if isinstance(layer, ParamWrapper):
        raise ModelError(
            f"Plain LoRA on linear layers is required, but {name} has another form: it adapts a parameter of a "
            f"mixture of experts, as target_parameters and all-linear do. {leave_out_experts(model)}"
        )
    if adapter in layer.lora_variant:
        raise ModelError(f"Plain LoRA on linear layers is required, but {name} has another form. {_SUPPORTED}")


def leave_out_experts(model: torch.nn.Module) -> str:
    """Return the remedy for an adapter on layers that do not see every token in its position."""
    return f"Leave experts out of target_modules: {working_targets(model) or 'adapt attention layers only'}."


def working_targets(model: torch.nn.Module) -> str | None:
    """Return advice on `target_modules` that work for this model; None if none are known to work."""
    names = ", ".join(attention_projections(model))
    return f"target_modules: [{names}] works for this model" if names else None


def attention_projections(model: torch.nn.Module) -> list[str]:
    """Return attention's linear layers as names for `target_modules`, without names that experts also use."""
    found: set[str] = set()  # names in attention
    taken: set[str] = set()  # names elsewhere
    for path, layer in model.named_modules():
        if not isinstance(layer, torch.nn.Linear) or ".lora_" in path:
            continue
        own_kind = type(layer).__module__.startswith("transformers.")  # such as grouped: PEFT cannot add to its output
        name = path.removesuffix(".base_layer").rpartition(".")[2]
        in_attention = ("attn" in path or "attention" in path) and not any(word in path for word in _NOT_ADAPTED)
        (found if in_attention and not own_kind else taken).add(name)
    return sorted(found - taken)


def _active_adapter(model: torch.nn.Module) -> str:
    if not isinstance(model, PeftModel):
        raise ModelError(
            f"A PEFT model with a LoRA adapter is required, but got {type(model).__name__}. Set `policy.adapter: "
            "lora`, or wrap a model of yours with peft.get_peft_model(model, peft.LoraConfig(...))."
        )
    active = model.active_adapters
    if len(active) != 1:
        raise ModelError(f"Exactly one adapter must be active, but {active} are. Choose one with set_adapter.")
    return str(active[0])


def _trained_names(model: torch.nn.Module, adapter: str) -> set[str]:
    """Return the names of the parameters of `adapter`, and of trained parameters that belong to no other adapter."""
    owner = re.compile(r"\.(?:lora_\w+|modules_to_save|trainable_tokens_\w+)\.(?P<adapter>[^.]+)(?:\.|$)")
    names = set()
    for name, parameter in model.named_parameters():
        found = owner.search(name)
        if found["adapter"] == adapter if found else parameter.requires_grad:
            names.add(name)
    return names
