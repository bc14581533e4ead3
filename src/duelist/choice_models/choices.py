"""Successive choices of which a ranking consists: the best of all, then the best of those left, and so on.

Reference: Plackett, "The analysis of permutations", Applied Statistics 24, 1975; Luce, "Individual Choice Behavior",
           1959; Beggs, Cardell, Hausman, "Assessing the potential demand for electric cars", Journal of Econometrics
           17, 1981 (the rank-ordered logit).

A ranking with ties is consistent with several orders, and counts as all of them in equal shares. At the choice after
some of g tied responses were placed, every subset of them of that size was placed in equally many of the orders. So the
mean over the g! orders is a sum over at most 2^g sets of responses left, and each of the tied ones left has the same
share in the choice from such a set.

A ranking that stops early ends with the last choice that was made. The best of k is a ranking that stops after the
first one.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from itertools import combinations
from math import comb

import numpy as np
from numpy.typing import NDArray

from duelist.answers import REST

Choice = tuple[tuple[int, ...], tuple[int, ...], float]  # places left, places one of which is next, weight


@dataclass(frozen=True)
class Choices:
    """Choices of N answers, at most X each.

    Attributes:
        left_NXQ: which responses each choice is made from; the first place only, where an answer has fewer choices.
        next_NXQ: the share of each response in the choice: 1 for the one chosen, 1/n for n tied ones.
        weight_NX: the share of the consistent orders in which the choice occurs; 0 where there is none.
        stage_NX: number of responses placed before the choice.
    """

    left_NXQ: NDArray[np.bool_]
    next_NXQ: NDArray[np.float64]
    weight_NX: NDArray[np.float64]
    stage_NX: NDArray[np.int64]


def choices_of(rank_NQ: NDArray[np.int64], best_worst_N: NDArray[np.bool_]) -> Choices:
    """Return the choices that answers consist of, by their ranks.

    Args:
        rank_NQ: `RankedSet.ranks`; −1 beyond the last response.
        best_worst_N: which answers name the best and the worst in one choice; these get no choice here.
    """
    n, q = rank_NQ.shape
    order_NQ = np.argsort(np.where(rank_NQ < 0, REST + 1, rank_NQ), axis=1, kind="stable")
    sorted_NQ = np.take_along_axis(rank_NQ, order_NQ, axis=1)
    found = [
        () if joint else choices_in_order(tuple(rank for rank in row if rank >= 0))
        for row, joint in zip(sorted_NQ.tolist(), best_worst_N.tolist(), strict=True)
    ]
    x = max(map(len, found), default=0)
    left_NXQ, next_NXQ = np.zeros((n, x, q), dtype=bool), np.zeros((n, x, q))
    weight_NX, stage_NX = np.zeros((n, x)), np.zeros((n, x), dtype=np.int64)
    left_NXQ[:, :, 0] = True
    for i, answer in enumerate(found):
        for j, (left, following, weight) in enumerate(answer):
            left_NXQ[i, j] = False
            left_NXQ[i, j, order_NQ[i, list(left)]] = True
            next_NXQ[i, j, order_NQ[i, list(following)]] = 1 / len(following)
            weight_NX[i, j], stage_NX[i, j] = weight, (rank_NQ[i] >= 0).sum() - len(left)
    return Choices(left_NXQ, next_NXQ, weight_NX, stage_NX)


@lru_cache(maxsize=4096)  # sorted ranks have few patterns
def choices_in_order(ranks: tuple[int, ...]) -> tuple[Choice, ...]:
    """Return the choices of a ranking whose places are sorted by rank; choices from one response are left out.

    Args:
        ranks: in ascending order; `REST` for places whose order is not known.
    """
    found: list[Choice] = []
    for rank in sorted({*ranks} - {REST}):
        tied = [place for place, r in enumerate(ranks) if r == rank]
        below = [place for place, r in enumerate(ranks) if r > rank]
        for placed in range(len(tied)):
            for left_of_tied in combinations(tied, len(tied) - placed):
                left = (*left_of_tied, *below)
                if len(left) > 1:
                    found.append((left, left_of_tied, 1 / comb(len(tied), placed)))
    return tuple(found)
