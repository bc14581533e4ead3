"""Weights that make the loss of pairs drawn with known probabilities unbiased for the loss over their pool.

Reference: Farquhar, Gal, Rainforth, "On statistical bias in active learning: how and when to fix it", ICLR 2021, arXiv
           2101.11665, R̃_LURE; the effective sample size: Kish, "Survey Sampling", 1965.
Formula:   of M pairs drawn one after another from a pool of N, the m-th with probability q_m given the draws before it:

               v_m = 1 + (N − M)/(N − m) · (1/((N − m + 1) q_m) − 1).

           Then E[1/M Σ v_m ℓ_m] is the mean of ℓ over the pool, for every ℓ that does not depend on the draws.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from duelist.errors import DuelistError

Floats = NDArray[np.float64]


def lure_weights(propensity_M: Floats, left_M: NDArray[np.int64]) -> Floats:
    """Return v_m of all draws from one pool, in the order in which they were drawn.

    Args:
        propensity_M: q_m.
        left_M: the number of pairs that were left at each draw: N, N − 1, and so on.

    Raises:
        DuelistError: if the draws are not those of one pool.
    """
    m_M = np.arange(1, len(left_M) + 1)
    n = int(left_M[0]) if len(left_M) else 0
    if (left_M != n - m_M + 1).any() or not (propensity_M > 0).all():
        raise DuelistError(
            "The draws from one pool must leave one pair less each time, and have positive probabilities, but they "
            f"leave {left_M.tolist()!r:.80} with {propensity_M.tolist()!r:.80}: give all draws of one pool, in order."
        )
    after_M = np.maximum(n - m_M, 1)  # 0 for the last pair of the pool, whose factor N − M is 0 too
    return np.asarray(1.0 + (n - len(m_M)) / after_M * (1.0 / (left_M * propensity_M) - 1.0))


def effective_sample_size(weight_M: Floats) -> float:
    """Return (Σ v)² / Σ v²: how many equally weighted labels have the same variance; 0 without labels."""
    square = float(np.square(weight_M).sum())
    return float(weight_M.sum()) ** 2 / square if square > 0 else 0.0
