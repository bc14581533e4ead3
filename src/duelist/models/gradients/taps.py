"""Taps on linear layers: they pass on each layer's input and output gradient in the backward pass."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from typing import Any

import torch

from duelist.models.policy.checkpointing import checkpointed_layers


class _Tap(torch.autograd.Function):  # type: ignore[misc]
    """Identity on a matrix's output that passes (input, gradient of the output) to `record` in the backward pass.

    The input is stored with `save_for_backward`. A closure on a tensor hook would keep it in memory despite gradient
    checkpointing.
    """

    @staticmethod
    def forward(
        ctx: Any, output: torch.Tensor, input_: torch.Tensor, record: Callable[[torch.Tensor, torch.Tensor], None]
    ) -> torch.Tensor:
        ctx.record = record
        ctx.save_for_backward(input_)
        return output.view_as(output)

    @staticmethod
    def backward(ctx: Any, grad: torch.Tensor) -> tuple[torch.Tensor, None, None]:
        (input_,) = ctx.saved_tensors
        with torch.no_grad():
            ctx.record(input_, grad)
        return grad, None, None


@contextmanager
def tapped(
    model: torch.nn.Module,
    matrices: Iterable[torch.nn.Linear],
    record: Callable[[int, bool, torch.Tensor, torch.Tensor], None],
) -> Iterator[None]:
    """Put a tap on every matrix. A tap's output requires gradients even if the matrix's output does not.

    Args:
        model: the matrices' model.
        matrices: the matrices to tap.
        record: called in the backward pass with a matrix's index among `matrices`, whether it belongs to the output
            layer, its input and the gradient of its output.
    """
    output_modules = set(model.get_output_embeddings().modules()) if model.get_output_embeddings() else set()
    with ExitStack() as hooks:
        if checkpointed_layers(model):
            # A reentrant checkpoint propagates gradients only if its own input requires them.
            embeddings = model.get_input_embeddings()
            hooks.callback(embeddings.register_forward_hook(lambda _, __, output: _wanting_grad(output)).remove)
        for block, matrix in enumerate(matrices):

            def tap(
                _: torch.nn.Module,
                inputs: tuple[torch.Tensor, ...],
                output: torch.Tensor,
                block: int = block,
                at_output: bool = matrix in output_modules,
            ) -> torch.Tensor:
                return _Tap.apply(_wanting_grad(output), inputs[0], partial(record, block, at_output))

            hooks.callback(matrix.register_forward_hook(tap).remove)
        yield


def _wanting_grad(tensor: torch.Tensor) -> torch.Tensor:
    return tensor if tensor.requires_grad else tensor.requires_grad_()
