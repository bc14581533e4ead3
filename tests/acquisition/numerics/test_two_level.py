"""Greedy on shards and then on their picks, beside the plain greedy and the best possible batch."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import combinations

import numpy as np
import pytest

from duelist.acquisition.numerics.greedy import pick_greedily
from duelist.acquisition.numerics.two_level import pick_two_level
from duelist.errors import BudgetError


def pool(n: int, d: int, seed: int) -> np.ndarray:
    rng = np.random.default_rng(seed)
    return rng.normal(size=(n, 8)) / np.arange(1, 9) @ rng.normal(size=(8, d)) + 0.3 * rng.normal(size=(n, d))


def gain(pool_ND: np.ndarray, past_PD: np.ndarray, regularizer: float, picks: np.ndarray | tuple[int, ...]) -> float:
    before = regularizer * np.eye(pool_ND.shape[1]) + past_PD.T @ past_PD
    after = before + pool_ND[list(picks)].T @ pool_ND[list(picks)]
    return float(np.linalg.slogdet(after)[1] - np.linalg.slogdet(before)[1])


def test_one_shard_gives_the_plain_greedy() -> None:
    pool_ND, past_PD = pool(300, 20, 0), pool(10, 20, 1)
    plain = pick_greedily(pool_ND, past_PD, 0.1, 25)
    both = pick_two_level([pool_ND], past_PD, 0.1, 25)
    assert both.indices_B.tolist() == plain.indices_B.tolist()
    np.testing.assert_allclose(both.square_B, plain.square_B, rtol=1e-9)


def test_positions_are_counted_through_a_stream_and_little_is_lost() -> None:
    pool_ND, past_PD = pool(1200, 30, 2), pool(10, 30, 3)

    def stream() -> Iterator[np.ndarray]:
        for start in range(0, 1200, 250):  # the last shard is shorter
            yield pool_ND[start : start + 250]

    picks = pick_two_level(stream(), past_PD, 0.1, 40)
    assert len(set(picks.indices_B.tolist())) == 40
    reached = gain(pool_ND, past_PD, 0.1, picks.indices_B)
    assert picks.log_determinant_gain == pytest.approx(reached, rel=1e-9)
    plain = gain(pool_ND, past_PD, 0.1, pick_greedily(pool_ND, past_PD, 0.1, 40).indices_B)
    assert reached >= 0.98 * plain
    assert picks.rows_read >= 1200


def test_shards_sorted_by_strength_stay_near_the_best() -> None:
    """All strong rows in one shard, among tiny pools where the best batch is known."""
    for seed in range(20):
        pool_ND = pool(12, 4, seed)
        pool_ND = pool_ND[np.argsort((pool_ND**2).sum(axis=1))]
        none_PD = np.empty((0, 4))
        best = max(gain(pool_ND, none_PD, 0.1, c) for c in combinations(range(12), 4))
        picks = pick_two_level([pool_ND[:4], pool_ND[4:8], pool_ND[8:]], none_PD, 0.1, 4)
        assert gain(pool_ND, none_PD, 0.1, picks.indices_B) >= 0.95 * best


def test_among_equals_the_first_of_the_pool_is_taken() -> None:
    pool_ND = np.tile(np.eye(3), (4, 1))  # every row four times
    picks = pick_two_level([pool_ND[:5], pool_ND[5:]], np.empty((0, 3)), 1.0, 3)
    assert picks.indices_B.tolist() == [0, 1, 2]


def test_shards_smaller_than_the_budget_give_all_they_have() -> None:
    pool_ND = pool(7, 5, 4)
    picks = pick_two_level([pool_ND[:2], pool_ND[2:2], pool_ND[2:]], np.empty((0, 5)), 1.0, 7)
    assert sorted(picks.indices_B.tolist()) == list(range(7))
    with pytest.raises(BudgetError, match="8 and 7 rows"):
        pick_two_level([pool_ND[:2], pool_ND[2:]], np.empty((0, 5)), 1.0, 8)
    assert len(pick_two_level([pool_ND], np.empty((0, 5)), 1.0, 0).indices_B) == 0
