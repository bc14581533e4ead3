"""Graph of the duels in a pool: the available pairs of each prompt's responses, and the reward of each response.

An arm is a response within its group (see `grouping`). A pair is two edges, one from each of its arms to the other.
Edges are sorted by their start arm, and arms by group, so that all sums and maxima run over slices. Groups, arms and
edges are numbered in the order of the pool, so taking the first of several equal values is a fair draw.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import scipy
from numpy.typing import NDArray

from duelist.acquisition.numerics.grouping import in_order_of_appearance, prompt_groups
from duelist.types import Features

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]

# Convergence of the least-squares rewards: the residual relative to the margins, and the maximum number of passes.
TOLERANCE, MAX_PASSES = 1e-12, 500


@dataclass(frozen=True)
class Duels:
    """The arms and edges of a pool (J = 2N edges, A arms, G groups).

    Attributes:
        group_A: each arm's group, ascending.
        arm_N2: the arms of each pair's responses a and b.
        start_G: the first arm of each group.
        start_A: the first edge of each arm; every arm has at least one.
        from_J: the arm at which an edge starts, ascending.
        to_J: the arm at which it ends.
        pair_J: the pair that it represents.
        sign_J: +1 if it runs from a to b, else −1: the edge's margin is sign x ρ.
    """

    group_A: Integers
    arm_N2: Integers
    start_G: Integers
    start_A: Integers
    from_J: Integers
    to_J: Integers
    pair_J: Integers
    sign_J: Integers

    @staticmethod
    def of(features: Features) -> Duels:
        """Return the duels of a pool of at least one pair."""
        n = features.n
        group_N2 = np.repeat(prompt_groups(features)[:, None], 2, axis=1)
        _, code = np.unique(features.response_ids_N2, return_inverse=True)
        key = group_N2.ravel() * (int(code.max()) + 1) + code.ravel()
        seen = in_order_of_appearance(key)  # a response may be in several cross-prompt groups: an arm in each
        first_A = np.unique(seen, return_index=True)[1]
        order_A = np.argsort(group_N2.ravel()[first_A], kind="stable")
        number_A = np.empty(len(order_A), np.int64)
        number_A[order_A] = np.arange(len(order_A))
        arm_N2 = number_A[seen].reshape(n, 2)
        group_A = group_N2.ravel()[first_A][order_A]
        start, end = arm_N2.T.ravel(), arm_N2[:, ::-1].T.ravel()
        pair, sign = np.tile(np.arange(n), 2), np.repeat([1, -1], n)
        order_J = np.lexsort((pair, start))
        from_J = start[order_J]
        return Duels(
            group_A=group_A,
            arm_N2=arm_N2,
            start_G=np.flatnonzero(np.diff(group_A, prepend=-1)),
            start_A=np.flatnonzero(np.diff(from_J, prepend=-1)),
            from_J=from_J,
            to_J=end[order_J],
            pair_J=pair[order_J],
            sign_J=sign[order_J],
        )

    @property
    def groups(self) -> int:
        """Return the number of groups, G."""
        return len(self.start_G)

    def prompt_by_prompt(
        self, pick: Callable[[NDArray[np.bool_], int], tuple[Integers, Floats]], budget: int
    ) -> tuple[Integers, Floats, int]:
        """Pick one pair of each prompt with a remaining pair, in repeated passes until the budget is used.

        Args:
            pick: a function of the edges that are still available and the number of pairs that may be picked. It
                returns one or more edges of different groups, and their scores.
            budget: number of pairs to pick, B.

        Returns:
            The pairs, their scores, and the number of passes over the prompts.
        """
        available_J = np.ones(len(self.from_J), bool)
        pairs: list[Integers] = []
        scores: list[Floats] = []
        while (left := budget - sum(map(len, pairs))) > 0:
            edge_B, score_B = pick(available_J, left)
            pairs.append(self.pair_J[edge_B])
            scores.append(score_B)
            available_J &= ~np.isin(self.pair_J, pairs[-1])
        return np.concatenate(pairs), np.concatenate(scores), len(pairs)

    def known_rewards(self, reward_N2K: Floats) -> Floats:
        """Return the rewards of the arms, `[A, K]`, from the rewards of each pair's responses."""
        reward_AK = np.empty((len(self.group_A), reward_N2K.shape[2]))
        reward_AK[self.arm_N2[::-1].ravel()] = reward_N2K[::-1].reshape(-1, reward_N2K.shape[2])
        return reward_AK

    def rewards_of_margins(self, margin_NK: Floats) -> Floats:
        """Return the rewards of the arms, `[A, K]`, whose differences fit the margins of the pairs by least squares.

        The fit is exact if the margins are differences of rewards. Rewards are determined up to a constant per group
        (per connected component of it, if pairs are missing); the mean, weighted by pairs, is set to 0. The method is
        conjugate gradients on the graph's Laplacian, separately for each draw. It needs few passes because prompts
        have few responses.
        """
        edge_JK = self.sign_J[:, None] * margin_NK[self.pair_J]
        right_AK = np.add.reduceat(edge_JK, self.start_A, axis=0)
        degree_A = np.diff(self.start_A, append=len(self.from_J)).astype(np.float64)
        ones_J = np.ones(len(self.from_J))
        shape = (len(degree_A), len(degree_A))
        start_A1 = np.append(self.start_A, len(self.from_J))
        neighbours: Any = scipy.sparse.csr_array((ones_J, self.to_J, start_A1), shape=shape)
        reward_AK = np.zeros_like(right_AK)
        residual_AK = right_AK
        direction_AK = residual_AK / degree_A[:, None]
        energy_K = np.einsum("ak,ak->k", residual_AK, direction_AK)
        enough_K = TOLERANCE**2 * energy_K
        for _ in range(MAX_PASSES):
            if (energy_K <= enough_K).all():
                break
            image_AK = degree_A[:, None] * direction_AK - neighbours @ direction_AK
            curvature_K = np.einsum("ak,ak->k", direction_AK, image_AK)
            moving_K = (energy_K > enough_K) & (curvature_K > 0)
            step_K = np.divide(energy_K, curvature_K, out=np.zeros_like(energy_K), where=moving_K)
            reward_AK = reward_AK + step_K * direction_AK
            residual_AK = residual_AK - step_K * image_AK
            scaled_AK = residual_AK / degree_A[:, None]
            before_K, energy_K = energy_K, np.einsum("ak,ak->k", residual_AK, scaled_AK)
            turn_K = np.divide(energy_K, before_K, out=np.zeros_like(energy_K), where=before_K > 0)
            direction_AK = scaled_AK + turn_K * direction_AK
        return reward_AK


def first_of_largest(value: NDArray[Any], start: Integers) -> tuple[NDArray[Any], Integers]:
    """Return the largest value of each slice and its first position; `value` may be `[J]` or `[J, X]`."""
    largest = np.maximum.reduceat(value, start, axis=0)
    length = np.diff(start, append=len(value))
    position = np.arange(len(value)).reshape(-1, *[1] * (value.ndim - 1))
    found = np.where(value == np.repeat(largest, length, axis=0), position, len(value))
    return largest, np.minimum.reduceat(found, start, axis=0)


def slices_of(start: Integers, end: Integers) -> tuple[Integers, Integers]:
    """Return the concatenated positions start[i] ... end[i] − 1 of several slices, and where each slice begins."""
    length = end - start
    begin = np.cumsum(length) - length
    return np.repeat(start - begin, length) + np.arange(int(length.sum())), begin
