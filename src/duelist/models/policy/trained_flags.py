"""Flags of the trained parameters of a model (`requires_grad`), restored after a block."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch


@contextmanager
def trained_kept(model: torch.nn.Module) -> Iterator[None]:
    """Restore the flags after the block: PEFT makes a whole adapter trainable when it is activated again."""
    trained = {name: parameter.requires_grad for name, parameter in model.named_parameters()}
    try:
        yield
    finally:
        for name, parameter in model.named_parameters():
            if trained.get(name, parameter.requires_grad) != parameter.requires_grad:
                parameter.requires_grad_(trained[name])


@contextmanager
def frozen(model: torch.nn.Module) -> Iterator[None]:
    """Freeze all parameters of `model` within the block."""
    with trained_kept(model):
        for parameter in model.parameters():
            if parameter.requires_grad:
                parameter.requires_grad_(False)
        yield
