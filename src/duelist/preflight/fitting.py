"""Whether a study fits a machine's memory and disk, and what to change if it does not."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path

from duelist.preflight.plan import GIB, Plan
from duelist.recipe.recipe import Recipe


@dataclass(frozen=True)
class Room:
    """Bytes of a machine's memory and disk that are free; None if not known."""

    memory: float | None
    disk: float | None


def room_here(libraries: bool) -> Room:
    """Return what is free here; without libraries, a GPU's memory is not known."""
    disk = float(shutil.disk_usage(Path.cwd()).free)
    if not libraries:
        return Room(None, disk)
    import psutil
    import torch

    if torch.cuda.is_available():
        return Room(float(torch.cuda.mem_get_info()[0]), disk)
    return Room(float(psutil.virtual_memory().available), disk)


def remedies(recipe: Recipe, plan: Plan, memory: float | None, disk: float | None, room: Room) -> list[str]:
    """Return sentences that say what to change, one for each of memory and disk that does not suffice."""
    found = []
    if memory is not None and room.memory is not None and memory > room.memory:
        found.append(
            f"Memory: {memory / GIB:.1f} GiB are needed, and {room.memory / GIB:.1f} GiB are free: "
            f"{_for_memory(recipe, plan)}."
        )
    if disk is not None and room.disk is not None and disk > room.disk:
        found.append(
            f"Disk: {disk / GIB:.1f} GiB are needed, and {room.disk / GIB:.1f} GiB are free: {_for_disk(recipe, plan)}."
        )
    return found


def _for_memory(recipe: Recipe, plan: Plan) -> str:
    policy, changes = recipe.policy, []
    activations, whole = plan.activation_bytes or 0, plan.memory_bytes or 0
    if activations > whole:
        changes.append("lower `trainer.train.per_device_train_batch_size`")
    if policy is not None and policy.dtype == "float32" and policy.adapter == "lora":
        changes.append("set `policy.dtype: bfloat16`")
    if policy is not None and policy.adapter == "none":
        changes.append("train an adapter (`policy.adapter: lora`)")
    if (plan.feature_bytes or 0) > whole / 2:
        changes.append("lower `featurizers.gradient.dimension`, or set `acquisition.candidates`")
    return ", ".join([*changes, "use a smaller model, or a device with more memory"])


def _for_disk(recipe: Recipe, plan: Plan) -> str:
    changes = []
    if (plan.feature_bytes or 0) > (plan.disk_bytes or 0) / 2:
        changes.append("lower `featurizers.gradient.dimension`, or set `acquisition.candidates`")
    if recipe.policy is not None and recipe.policy.adapter == "none":
        changes.append("train an adapter (`policy.adapter: lora`)")
    return ", ".join([*changes, "run fewer rounds with a larger budget, or free space"])
