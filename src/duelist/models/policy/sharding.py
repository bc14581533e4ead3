"""Models whose weights are sharded over processes (FSDP2), and the part of the work that each process does.

A module of a sharded model gathers its weights for its own pass and frees them after it, so no process ever holds the
whole model, and what goes through the module is what it is in one process. A pass takes all processes: each runs as
many batches as the others.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any, TypeVar

import torch

from duelist.errors import ModelError

T = TypeVar("T")
Result = TypeVar("Result")


def is_sharded(model: torch.nn.Module) -> bool:
    """Return whether some weights of the model are only in part in this process, except while they are used."""
    if not torch.distributed.is_available() or not torch.distributed.is_initialized():
        return False
    from torch.distributed.fsdp import FSDPModule
    from torch.distributed.tensor import DTensor

    # The outermost module may keep its weights gathered after a pass.
    gathers = any(isinstance(module, FSDPModule) for module in model.modules())
    return gathers or any(isinstance(parameter, DTensor) for parameter in model.parameters())


def require_whole_activations(model: torch.nn.Module) -> None:
    """Require a model whose layers see whole inputs and outputs.

    Raises:
        ModelError: if they are split over processes (tensor parallelism).
    """
    in_parts = (getattr(model, "tp_size", None) or 1) > 1
    if not in_parts and is_sharded(model):
        from torch.distributed.fsdp import FSDPModule

        in_parts = not any(isinstance(module, FSDPModule) for module in model.modules())
    if in_parts:
        raise ModelError(
            "Gradients per response need layers that see whole inputs and outputs, but those of this model are split "
            "over processes (tensor parallelism), each of which sees a part: shard it by FSDP2 instead "
            "(`distributed_config={'fsdp_size': N}` of from_pretrained, or torch's fully_shard), or place its layers "
            "on different devices (`device_map='auto'`)."
        )


def require_weights_in_place(model: torch.nn.Module) -> None:
    """Require weights that are on a device all the time, not only while a layer runs forward.

    Raises:
        ModelError: if some are offloaded.
    """
    away = [name for name, parameter in model.named_parameters() if parameter.device.type == "meta"]
    if away:
        raise ModelError(
            f"Training and gradients need weights that stay on their device until the backward pass, but `device_map` "
            f"has moved {len(away)} off it, such as {away[0]}, and lends them to the forward pass only: use more or "
            "larger GPUs (`max_memory`), a smaller type of the weights, or FSDP2 (`trainer.sharded`)."
        )


def require_sharded(model: torch.nn.Module, name: str) -> None:
    """Require a model of which each process holds a part, except for its adapter.

    Raises:
        ModelError: if this process holds all of the model called `name`.
    """
    from torch.distributed.tensor import DTensor

    if not any(isinstance(parameter, DTensor) for parameter in model.parameters()):
        raise ModelError(
            f"Each process must hold a part of {name}, but this one has all of it: remove what places the weights from "
            "`policy.load`, or set the engine to local."
        )


def processes_of(model: torch.nn.Module) -> tuple[int, int]:
    """Return the number of this process among those that the model is sharded over, and their number; else 0, 1."""
    if not is_sharded(model):
        return 0, 1
    return torch.distributed.get_rank(), torch.distributed.get_world_size()


def in_turns(model: torch.nn.Module, compute: Callable[[T], Result], batches: Sequence[T]) -> Iterator[Result]:
    """Yield the result of each batch, in order; the processes of a sharded model compute a batch each in every turn.

    Every process makes this call, and gets all results.

    Args:
        model: the model.
        compute: computes one batch in this process alone. It passes through the model as often for any batch.
        batches: the batches.
    """
    process, processes = processes_of(model)
    for start in range(0, len(batches), processes):
        turn = batches[start : start + processes]
        own = compute(turn[min(process, len(turn) - 1)])  # in the last turn, several processes may run the same one
        found: list[Any] = [own]
        if processes > 1:
            found = [None] * processes
            torch.distributed.all_gather_object(found, own)
        yield from found[: len(turn)]
