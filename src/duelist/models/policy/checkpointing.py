"""Gradient checkpointing without dropout.

transformers checkpoints a layer only while the layer itself is in training mode. The layer may then take its dropout
rate from anywhere: an attribute, its configuration or a constant.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from transformers.modeling_layers import GradientCheckpointingLayer


def checkpointed_layers(model: torch.nn.Module) -> list[Any]:
    """Return the layers that are checkpointed in training mode."""
    return [m for m in model.modules() if isinstance(m, GradientCheckpointingLayer) and m.gradient_checkpointing]


@contextmanager
def evaluation_mode(model: torch.nn.Module) -> Iterator[None]:
    """Put every module in evaluation mode (no dropout) and restore each one's mode afterwards."""
    was_training = [module for module in model.modules() if module.training]
    model.eval()
    try:
        yield
    finally:
        for module in was_training:
            module.training = True


@contextmanager
def checkpointed_evaluation(model: torch.nn.Module) -> Iterator[None]:
    """Put the model in evaluation mode but keep gradient checkpointing active if it is enabled.

    A checkpointed layer, without its children, is in training mode when it is called. It is in evaluation mode during
    both of its forward computations, so dropout rates have no effect.
    """
    with evaluation_mode(model):
        checkpoints = [(layer, layer._gradient_checkpointing_func) for layer in checkpointed_layers(model)]
        try:
            for layer, checkpoint in checkpoints:
                layer.training = True
                layer._gradient_checkpointing_func = _in_evaluation(layer, checkpoint)
            yield
        finally:
            for layer, checkpoint in checkpoints:
                layer.training = False
                layer._gradient_checkpointing_func = checkpoint


def _in_evaluation(layer: torch.nn.Module, checkpoint: Callable[..., Any]) -> Callable[..., Any]:
    """Wrap `checkpoint` so that `layer` is in evaluation mode whenever the checkpointed function runs."""

    def run(forward: Callable[..., Any], *inputs: Any) -> Any:
        def evaluate(*inputs: Any) -> Any:
            layer.training = False
            try:
                return forward(*inputs)
            finally:
                layer.training = True

        return checkpoint(evaluate, *inputs)

    return run
