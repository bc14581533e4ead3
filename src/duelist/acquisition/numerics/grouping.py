"""Pairs grouped by prompt: the groups of competing pairs, and each pair's rank in its group.

A group is the set of a prompt's pairs. For cross-prompt pairs, each unordered pair of prompts is a separate group.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from duelist.types import Features

# Scores that differ by less than this fraction of the largest count as equal: rounding noise must not decide.
TIE_TOLERANCE = 1e-12


def prompt_groups(features: Features) -> NDArray[np.int64]:
    """Return the group of each pair, numbered from 0 in order of first appearance; shape `[N]`."""
    _, code = np.unique(features.prompt_ids_N2, return_inverse=True)
    code_N2 = np.sort(code.reshape(-1, 2), axis=1)
    return in_order_of_appearance(code_N2[:, 0] * (int(code.max(initial=0)) + 1) + code_N2[:, 1])


def in_order_of_appearance(key_N: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return keys renumbered from 0 in order of first appearance; in a pool in random order, this order is random."""
    _, first_X, inverse_N = np.unique(key_N, return_index=True, return_inverse=True)
    number_X = np.empty(len(first_X), np.int64)
    number_X[np.argsort(first_X)] = np.arange(len(first_X))
    return np.asarray(number_X[inverse_N])


def rank_in_group(group_N: NDArray[np.int64], score_N: NDArray[np.float64]) -> NDArray[np.int64]:
    """Return each pair's rank in its group by falling score, from 0; of equal scores, the first ranks first."""
    order_N = np.lexsort((np.arange(len(score_N)), -score_N, group_N))
    sorted_N = group_N[order_N]
    start_N = np.searchsorted(sorted_N, sorted_N)
    rank_N = np.empty(len(score_N), np.int64)
    rank_N[order_N] = np.arange(len(score_N)) - start_N
    return rank_N


def group_by_group(
    group_N: NDArray[np.int64], score_N: NDArray[np.float64], across_N: NDArray[np.float64] | None = None
) -> NDArray[np.int64]:
    """Return all pairs in passes over the groups: each group's best pair, then each group's second best, and so on.

    Args:
        group_N: the group of each pair.
        score_N: the scores that order the pairs of a group, highest first.
        across_N: the scores that order the pairs of one pass, highest first; `score_N` by default.

    Returns:
        Positions in the pool; equal scores keep the order of the pool.
    """
    across_N = score_N if across_N is None else across_N
    return np.lexsort((np.arange(len(score_N)), -across_N, rank_in_group(group_N, score_N)))


def without_noise(score_N: NDArray[np.float64], floor: float = 0.0) -> NDArray[np.float64]:
    """Return the scores, rounded so that scores that differ only by rounding noise are equal.

    Args:
        score_N: the scores.
        floor: the absolute size of the noise, if it is not proportional to the scores.
    """
    step = max(TIE_TOLERANCE * float(np.abs(score_N).max(initial=0.0)), floor)
    return np.round(score_N / step) * step if step > 0 else score_N
