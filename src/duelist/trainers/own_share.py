"""A process's share of each batch, when several processes train together.

Every process reads the same batches as one process would, in the same order, and keeps its rows of each. It gets as
many rows as every other process, because the processes wait for one another: if the batch does not divide, some rows
are repeated and count nothing. The processes average their gradients, so the row i of K in a batch of B counts

    c_i = N K / B  if it is this process's own, 0 if it is a repeated one,

and the mean over N processes of (1/K) Σ_i c_i loss_i is the batch's mean loss, (1/B) Σ loss.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, final

import torch

COUNTED = "counted"  # column of a batch: c, one number per row


@final
class OwnShare:
    """Collator of one process's rows of a batch, with the column `counted`.

    Args:
        collator: makes a batch of examples.
        process: the number of this process, from 0.
        processes: N.
    """

    def __init__(self, collator: Callable[[list[Any]], dict[str, Any]], process: int, processes: int) -> None:
        self._collator = collator
        self._process = process
        self._processes = processes

    def __call__(self, examples: list[Any]) -> dict[str, Any]:
        """Return the batch of this process's rows of `examples`, which are those of all processes."""
        rows, counted_B = shared_out(len(examples), self._process, self._processes)
        return {**self._collator([examples[row] for row in rows]), COUNTED: torch.tensor(counted_B)}


def shared_out(size: int, process: int, processes: int) -> tuple[list[int], list[float]]:
    """Return a process's rows of a batch of `size` rows, and how much each of them counts."""
    own = list(range(process, size, processes))
    longest = -(-size // processes)
    rows = own + [0] * (longest - len(own))
    return rows, [processes * longest / size] * len(own) + [0.0] * (longest - len(own))
