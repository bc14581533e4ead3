"""Gain of every candidate by itself, given the past: what the greedy rules maximise at their first pick.

With A = (λI + Σ_past uuᵀ)⁻¹ applied through the directions of the past (see `greedy.py`), for a row u:

    variance  q(u) = uᵀAu,    fall of tr(T A)  n(u) / (1 + q(u)),   n(u) = uᵀA T A u,  T = SᵀS from the targets.

Both read the pool once, in blocks.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from duelist.acquisition.numerics.greedy import past_directions
from duelist.acquisition.numerics.pool_rows import PoolRows, as_rows

Floats = NDArray[np.float64]


def variances(rows_ND: NDArray[Any] | PoolRows, past_PD: NDArray[Any], regularizer: float) -> Floats:
    """Return uᵀAu of every row, `[N]`.

    Args:
        rows_ND: the rows u.
        past_PD: the rows in A⁻¹ beside λI.
        regularizer: λ, positive.
    """
    return variances_along(as_rows(rows_ND), past_directions(past_PD, regularizer), regularizer)


def variances_along(rows: PoolRows, known_XD: Floats, regularizer: float) -> Floats:
    """Return uᵀAu of every row, `[N]`, with A given by its directions."""
    variance_N = np.empty(len(rows))
    for positions_N, block_ND in rows.blocks():
        variance_N[positions_N] = _variances(block_ND, known_XD, regularizer)
    return variance_N


def trace_falls(
    rows_ND: NDArray[Any] | PoolRows, past_PD: NDArray[Any], root_MD: Floats | None, regularizer: float
) -> Floats:
    """Return the fall of tr(T A) when each row alone is added, `[N]`.

    Args:
        rows_ND: the rows u.
        past_PD: the rows in A⁻¹ beside λI.
        root_MD: S (see `trace_design.target_root`); None for T = I.
        regularizer: λ, positive.
    """
    q_N, n_N = variances_and_effects(as_rows(rows_ND), past_directions(past_PD, regularizer), root_MD, regularizer)
    return n_N / (1.0 + q_N)


def variances_and_effects(
    rows: PoolRows, known_XD: Floats, root_MD: Floats | None, regularizer: float
) -> tuple[Floats, Floats]:
    """Return q(u) and n(u) of every row, `[N]` each, with A given by its directions; T = I without a root."""
    applied_root_MD = None if root_MD is None else applied(root_MD, known_XD, regularizer)
    q_N, n_N = np.empty(len(rows)), np.empty(len(rows))
    for positions_N, block_ND in rows.blocks():
        q_N[positions_N] = _variances(block_ND, known_XD, regularizer)
        if applied_root_MD is None:
            through_NM = applied(block_ND, known_XD, regularizer)
        else:
            through_NM = block_ND @ applied_root_MD.T
        n_N[positions_N] = np.vecdot(through_NM, through_NM)
    return q_N, n_N


def applied(vectors_XD: Floats, known_XD: Floats, regularizer: float) -> Floats:
    """Return A v for each row v."""
    return np.asarray((vectors_XD - (vectors_XD @ known_XD.T) @ known_XD) / regularizer)


def _variances(block_ND: Floats, known_XD: Floats, regularizer: float) -> Floats:
    """Return uᵀAu = (|u|² − Σ_k (u·g_k)²)/λ."""
    along_NX = block_ND @ known_XD.T
    left_N = np.vecdot(block_ND, block_ND) - np.vecdot(along_NX, along_NX)
    return np.asarray(np.maximum(left_N, 0.0) / regularizer)
