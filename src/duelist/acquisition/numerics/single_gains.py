"""Gain of every candidate by itself, given the past: what the greedy rules maximise at their first pick.

With A = (λI + Σ_past uuᵀ)⁻¹ applied through the directions of the past (see `greedy.py`), for a row u:

    variance  uᵀAu,    fall of tr(T A)  uᵀA T A u / (1 + uᵀAu),  T the mean outer product of the targets.

Both read the pool once, in blocks.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from duelist.acquisition.numerics.greedy import past_directions
from duelist.acquisition.numerics.pool_rows import PoolRows, as_rows
from duelist.acquisition.numerics.trace_design import target_root

Floats = NDArray[np.float64]


def variances(rows_ND: NDArray[Any] | PoolRows, past_PD: NDArray[Any], regularizer: float) -> Floats:
    """Return uᵀAu of every row, `[N]`.

    Args:
        rows_ND: the rows u.
        past_PD: the rows in A⁻¹ beside λI.
        regularizer: λ, positive.
    """
    known_XD, rows = past_directions(past_PD, regularizer), as_rows(rows_ND)
    variance_N = np.empty(len(rows))
    for positions_N, block_ND in rows.blocks():
        variance_N[positions_N] = _quadratic(block_ND, known_XD) / regularizer
    return variance_N


def trace_falls(
    rows_ND: NDArray[Any] | PoolRows, past_PD: NDArray[Any], target_MD: NDArray[Any] | None, regularizer: float
) -> Floats:
    """Return the fall of tr(T A) when each row alone is added, `[N]`; T = I without targets."""
    known_XD, rows = past_directions(past_PD, regularizer), as_rows(rows_ND)
    root_MD = None if target_MD is None else target_root(target_MD)
    fall_N = np.empty(len(rows))
    for positions_N, block_ND in rows.blocks():
        applied_ND = (block_ND - (block_ND @ known_XD.T) @ known_XD) / regularizer  # A u
        through = applied_ND if root_MD is None else applied_ND @ root_MD.T
        q_N = _quadratic(block_ND, known_XD) / regularizer
        fall_N[positions_N] = np.vecdot(through, through) / (1.0 + q_N)
    return fall_N


def _quadratic(block_ND: Floats, known_XD: Floats) -> Floats:
    """Return λ uᵀAu = |u|² − Σ_k (u·g_k)²."""
    along_NX = block_ND @ known_XD.T
    return np.asarray(np.maximum(np.vecdot(block_ND, block_ND) - np.vecdot(along_NX, along_NX), 0.0))
