"""Selection of the highest scores, for rules that score every pair once."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from duelist.types import Selection


def highest(
    score_N: NDArray[np.float64], budget: int, unit: str, cost_N: NDArray[np.float64] | None = None
) -> Selection:
    """Select the `budget` pairs of highest score, or of highest score per second; of equal scores, take the first.

    Args:
        score_N: the scores; with `cost_N` they must be gains, not negative.
        budget: number of pairs to pick, B <= N.
        unit: the unit of the scores, in words.
        cost_N: expected seconds per pair, positive; None if cost does not count.
    """
    score_N, unit = per_second(score_N, unit, cost_N)
    indices_B = np.argsort(-score_N, kind="stable")[:budget]
    return Selection(indices_B, score_N[indices_B], unit)


def per_second(
    score_N: NDArray[np.float64], unit: str, cost_N: NDArray[np.float64] | None
) -> tuple[NDArray[np.float64], str]:
    """Return scores and their unit, divided by the cost in seconds if there is one."""
    return (score_N, unit) if cost_N is None else (score_N / cost_N, f"{unit} per second")
