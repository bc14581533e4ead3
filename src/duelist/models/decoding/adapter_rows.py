"""One forward pass for policy and reference: the first half of the rows is the policy's, the second the reference's.

All rows share the computation of the base model. Each LoRA layer adds the policy's matrices to the first half. If the
reference is an adapter too, the layer adds that adapter's matrices to the second half. The logits equal those of two
passes, at a lower cost.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from peft import PeftModel
from peft.tuners.lora.layer import LoraLayer

from duelist.errors import ModelError
from duelist.models.policy.lora_matrices import lora_matrices
from duelist.models.policy.policy import Policy


class _RowsLost(Exception):
    """Error: a layer does not see the batch row by row."""


@contextmanager
def policy_then_reference(policy: Policy) -> Iterator[None]:
    """Make `policy.model` take an even number of rows: a batch for the policy, then one for the reference.

    Use it only if `rows_stay_apart` is true.
    """
    own = _active_adapters(policy.model)
    with policy.as_reference():
        other = _active_adapters(policy.model)
    layers = [m for m in policy.model.modules() if isinstance(m, LoraLayer)]
    with policy.model.disable_adapter():
        hooks = [layer.register_forward_hook(_adding(layer, (own, other))) for layer in layers]
        try:
            yield
        finally:
            for hook in hooks:
                hook.remove()


def rows_stay_apart(policy: Policy) -> bool:
    """Return whether `policy_then_reference` is exact: plain LoRA, on layers that see the batch row by row."""
    if not isinstance(policy.model, PeftModel):
        return False
    try:
        lora_matrices(policy.model)
        ids = torch.zeros((2, 3), dtype=torch.long, device=policy.device)  # two rows with an odd number of tokens
        with torch.no_grad(), policy_then_reference(policy):
            policy.model(input_ids=ids, use_cache=False)
    except (ModelError, _RowsLost):
        return False
    return True


def _active_adapters(model: Any) -> tuple[str, ...]:
    layer = next(m for m in model.modules() if isinstance(m, LoraLayer))
    return () if layer.disable_adapters else tuple(layer.active_adapters)


def _adding(layer: Any, adapters: tuple[tuple[str, ...], tuple[str, ...]]) -> Any:
    """Return a hook for a LoRA layer with adapters off: it applies each half's adapters to that half of the rows."""

    def add(_: torch.nn.Module, inputs: tuple[torch.Tensor, ...], output: torch.Tensor) -> torch.Tensor:
        x = inputs[0]
        if x.ndim < 3 or len(x) % 2:  # some models flatten rows and positions, or put positions first
            raise _RowsLost
        half = len(x) // 2
        for rows, names in zip((slice(0, half), slice(half, None)), adapters, strict=True):
            for name in names:
                if name in layer.lora_A:
                    down, up = layer.lora_A[name], layer.lora_B[name]
                    change = up(down(x[rows].to(down.weight.dtype)))
                    output[rows].add_(change, alpha=layer.scaling[name])
        return output

    return add
