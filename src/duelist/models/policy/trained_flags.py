"""Which parameters of a model are trained (`requires_grad`), kept over what changes it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch


@contextmanager
def trained_kept(model: torch.nn.Module) -> Iterator[None]:
    """Leave what is trained as it was: PEFT makes the whole of an adapter trainable when it is activated again."""
    trained = {name: parameter.requires_grad for name, parameter in model.named_parameters()}
    try:
        yield
    finally:
        for name, parameter in model.named_parameters():
            if trained.get(name, parameter.requires_grad) != parameter.requires_grad:
                parameter.requires_grad_(trained[name])


@contextmanager
def frozen(model: torch.nn.Module) -> Iterator[None]:
    """Within the block, nothing in `model` is trained."""
    with trained_kept(model):
        for parameter in model.parameters():
            if parameter.requires_grad:
                parameter.requires_grad_(False)
        yield
