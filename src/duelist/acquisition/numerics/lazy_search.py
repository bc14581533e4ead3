"""Lazy search for the largest of scores that never rise: only candidates whose stale score may be the largest are read.

Reference: Minoux, "Accelerated greedy algorithms for maximizing submodular set functions", 1978.

A score from some picks ago is an upper bound on the present one. A candidate is skipped while its bound is below the
best present score. Scores that differ by less than the rounding of the features count as equal, and the first candidate
is taken: the search continues while a bound exceeds the best, or while an earlier candidate's bound is equal to it.
"""

from __future__ import annotations

from typing import Protocol, final

import numpy as np
from numpy.typing import NDArray

# Number of the best candidates that are evaluated first after a pick; it doubles with every further evaluation.
FIRST_LOOK = 16


class StaleScores(Protocol):
    """Scores of N candidates, each as it was after some number of picked rows.

    Attributes:
        worth_N: the score of each candidate when it was last evaluated; −∞ once picked.
        applied_N: the number of picked rows in each score; a picked candidate has more than there are.
        applied: the number of picked rows.
        most_read: the number of candidates that may be evaluated together.
    """

    worth_N: NDArray[np.float64]
    applied_N: NDArray[np.int64]
    applied: int
    most_read: int

    def refresh(self, positions_N: NDArray[np.int64]) -> None:
        """Bring the scores of some candidates up to date."""

    def equal_to(self, best: int) -> NDArray[np.int64]:
        """Return the candidates, in order, whose scores equal that of `best` within rounding; `best` is one of them."""


@final
class LazySearch:
    """Search that begins with the candidates that were best the last time: they probably contain the next pick."""

    def __init__(self, scores: StaleScores) -> None:
        self._front = largest(np.arange(len(scores.worth_N)), scores.worth_N, FIRST_LOOK)

    def first_best(self, scores: StaleScores) -> int:
        """Return the first candidate of largest score."""
        look = self._front[scores.applied_N[self._front] <= scores.applied]  # all but the last pick
        looked_at = [look]
        size = FIRST_LOOK
        top, best = -np.inf, -1
        while True:
            scores.refresh(look)
            if scores.worth_N[look].max(initial=-np.inf) > top:
                best = int(look[scores.worth_N[look].argmax()])
                top = scores.worth_N[best]
            look = np.flatnonzero((scores.worth_N > top) & (scores.applied_N < scores.applied))
            if not len(look):  # no stale candidate can exceed the best any more, but one may be equal and come earlier
                equals = scores.equal_to(best)
                first = int(equals[scores.applied_N[equals] == scores.applied][0])
                look = equals[equals < first]
                if not len(look):
                    break
                look = look[:size]
            look = largest(look, scores.worth_N, size)
            looked_at.append(look)
            size = min(2 * size, scores.most_read)
        self._front = largest(np.concatenate(looked_at), scores.worth_N, FIRST_LOOK)
        return first


def largest_left(scores: StaleScores, bound_N: NDArray[np.float64]) -> float:
    """Return the largest of `bound_N`, another measure that `refresh` brings up to date and that never rises."""
    size = FIRST_LOOK
    while True:
        best = int(bound_N.argmax())
        if scores.applied_N[best] >= scores.applied:
            return float(bound_N[best])
        stale = np.flatnonzero(scores.applied_N < scores.applied)
        scores.refresh(largest(stale, bound_N, size))
        size = min(2 * size, scores.most_read)


def largest(positions_N: NDArray[np.int64], values_N: NDArray[np.float64], count: int) -> NDArray[np.int64]:
    """Return those of `positions_N` with the `count` largest values."""
    if len(positions_N) <= count:
        return positions_N
    return positions_N[np.argpartition(-values_N[positions_N], count)[:count]]
