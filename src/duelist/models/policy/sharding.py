"""Models whose weights are sharded over processes (FSDP2), and the part of the work that each process does.

A module of a sharded model gathers its weights for its own pass and frees them after it, so no process ever holds the
whole model, and what goes through the module is what it is in one process. A pass takes all processes: each runs as
many batches as the others.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, TypeVar

import torch
from numpy.typing import NDArray

from duelist.errors import ModelError

T = TypeVar("T")


def is_sharded(model: torch.nn.Module) -> bool:
    """Return whether some weights of the model are only in part in this process."""
    if not torch.distributed.is_available() or not torch.distributed.is_initialized():
        return False
    from torch.distributed.tensor import DTensor

    return any(isinstance(parameter, DTensor) for parameter in model.parameters())


def require_whole_activations(model: torch.nn.Module) -> None:
    """Require a model whose layers see whole inputs and outputs, on a device that takes part in the backward pass.

    Raises:
        ModelError: if layers are split over processes (tensor parallelism), or parts of the model are moved to its
            device for the forward pass only.
    """
    from torch.distributed.fsdp import FSDPModule

    in_parts = is_sharded(model) and not any(isinstance(module, FSDPModule) for module in model.modules())
    if in_parts or (getattr(model, "tp_size", None) or 1) > 1:
        raise ModelError(
            "Gradients per response need layers that see whole inputs and outputs, but those of this model are split "
            "over processes (tensor parallelism), each of which sees a part: shard it by FSDP2 instead "
            "(`policy.load: {distributed_config: {fsdp_size: N}}`, or torch's fully_shard), or place its layers on "
            "different devices (`policy.load: {device_map: auto}`)."
        )
    moved = sorted({str(d) for d in (getattr(model, "hf_device_map", None) or {}).values()} & {"cpu", "disk"})
    if moved and any(parameter.device.type == "meta" for parameter in model.parameters()):
        raise ModelError(
            f"Gradients per response need weights that stay on their device until the backward pass, but `device_map` "
            f"has put some on {' and '.join(moved)}, from where they are moved for the forward pass only: use GPUs "
            "with more memory together (`max_memory` in `policy.load`), load the model quantized, or shard it by FSDP2."
        )


def own_share(model: torch.nn.Module, batches: Sequence[T]) -> Iterator[tuple[T, bool]]:
    """Yield the batches that this process runs, and whether their results are its to give; all of a whole model's.

    The last batch is run by several processes if the batches do not divide.
    """
    process, processes = 0, 1
    if is_sharded(model):
        process, processes = torch.distributed.get_rank(), torch.distributed.get_world_size()
    for start in range(0, len(batches), processes):
        own = start + process
        yield batches[min(own, len(batches) - 1)], own < len(batches)


def add_up(model: torch.nn.Module, *arrays: NDArray[Any]) -> None:
    """Add up arrays over the processes of a sharded model, in place. A row that one process gives stays as it is."""
    if not is_sharded(model):
        return
    device = next(model.parameters()).device
    for array in arrays:
        total = torch.from_numpy(array).to(device)
        torch.distributed.all_reduce(total)
        array[:] = total.cpu().numpy()
