"""Batching and padding of sequences of different lengths."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import torch

from duelist.models.policy.positions import regime


def padded(rows: Sequence[Sequence[int]], fill: int, device: torch.device, width: int = 0) -> torch.Tensor:
    """Return the rows, padded on the right to the longest row or to `width`."""
    filled = np.full((len(rows), max(width, *map(len, rows))), fill, dtype=np.int64)
    for row, values in zip(filled, rows, strict=True):
        row[: len(values)] = values
    return torch.from_numpy(filled).to(device)


def batches_by_count(
    order: Sequence[int], lengths: Sequence[int], size: int, thresholds: Sequence[int]
) -> Iterator[list[int]]:
    """Yield batches of at most `size` sequences, none on both sides of one of the model's length thresholds.

    Args:
        order: positions in `lengths`, in the order in which they are batched.
        lengths: the length of each sequence, in tokens.
        size: maximum number of sequences per batch.
        thresholds: the model's length thresholds (`length_thresholds`).
    """
    for beyond in range(len(thresholds) + 1):
        rows = [i for i in order if regime(lengths[i], thresholds) == beyond]
        yield from (rows[start : start + size] for start in range(0, len(rows), size))
