"""Selection in few readings, beside plain greedy, and its bounds beside every possible batch."""

from __future__ import annotations

from itertools import combinations
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from duelist.acquisition.activedpo import ActiveDPO, ActiveDPOConfig
from duelist.acquisition.numerics.greedy import pick_greedily
from duelist.acquisition.numerics.pool_rows import PoolRows
from duelist.acquisition.numerics.streamed import pick_streamed
from duelist.cli.console import certificate_line
from duelist.errors import BudgetError, DuelistError
from duelist.testing import check_acquisition, random_features

LAMBDA = 0.1


def pool(n: int, d: int, seed: int, noise: float = 0.3) -> np.ndarray:
    """Rows with a few strong directions, uneven lengths and noise, such as gradients have."""
    rng = np.random.default_rng(seed)
    rows_ND = rng.normal(size=(n, 8)) / np.arange(1, 9) @ rng.normal(size=(8, d)) + noise * rng.normal(size=(n, d))
    return np.asarray(rows_ND * np.exp(0.3 * rng.normal(size=(n, 1))))


def gain(pool_ND: np.ndarray, past_PD: np.ndarray, picks: np.ndarray | tuple[int, ...]) -> float:
    before = LAMBDA * np.eye(pool_ND.shape[1]) + past_PD.T @ past_PD
    after = before + pool_ND[list(picks)].T @ pool_ND[list(picks)]
    return float(np.linalg.slogdet(after)[1] - np.linalg.slogdet(before)[1])


def brute_force(pool_ND: np.ndarray, past_PD: np.ndarray, budget: int) -> list[int]:
    """Greedy picks by the definition: every row, at every pick, in the inverse of V."""
    v_DD = LAMBDA * np.eye(pool_ND.shape[1]) + past_PD.T @ past_PD
    picks: list[int] = []
    for _ in range(budget):
        score_N = np.einsum("nd,de,ne->n", pool_ND, np.linalg.inv(v_DD), pool_ND)
        score_N[picks] = -np.inf
        picks.append(int(np.flatnonzero(score_N >= score_N.max() * (1 - 1e-9))[0]))
        v_DD += np.outer(pool_ND[picks[-1]], pool_ND[picks[-1]])
    return picks


@pytest.mark.parametrize("noise", [0.05, 0.3, 2.0])
def test_what_is_called_exact_is_what_the_definition_picks(noise: float) -> None:
    pool_ND, past_PD = pool(900, 24, 0, noise), pool(7, 24, 1)
    # 150 picks: more than the directions that rows are compared with at a time.
    found = pick_streamed(pool_ND, past_PD, LAMBDA, 150, shard_bytes=200 * 24 * 8)
    expected = brute_force(pool_ND, past_PD, 150)
    assert found.exact and found.loss_bound == 0
    assert found.picks.indices_B.tolist() == expected
    assert found.picks.log_determinant_gain == pytest.approx(gain(pool_ND, past_PD, tuple(expected)), rel=1e-9)
    assert found.upper_bound >= found.picks.log_determinant_gain
    rest = np.setdiff1d(np.arange(900), expected)
    after_DD = LAMBDA * np.eye(24) + past_PD.T @ past_PD + pool_ND[expected].T @ pool_ND[expected]
    left = float(np.einsum("nd,de,ne->n", pool_ND[rest], np.linalg.inv(after_DD), pool_ND[rest]).max())
    assert left <= found.picks.best_left * (1 + 1e-9)


@given(st.integers(0, 10**6), st.integers(1, 5), st.integers(1, 3))
def test_bounds_hold_for_plain_greedy_and_for_the_best_batch(seed: int, budget: int, per_shard: int) -> None:
    pool_ND, past_PD = pool(11, 4, seed), pool(seed % 3, 4, seed + 1)
    per_shard = max(per_shard, -(-budget // 3))
    found = pick_streamed(pool_ND, past_PD, LAMBDA, budget, shard_bytes=4 * 4 * 8, per_shard=per_shard)
    own, plain = found.picks.indices_B, brute_force(pool_ND, past_PD, budget)
    reached = gain(pool_ND, past_PD, own)
    assert len(set(own.tolist())) == budget
    assert found.picks.log_determinant_gain == pytest.approx(reached, rel=1e-9)
    assert max(gain(pool_ND, past_PD, c) for c in combinations(range(11), budget)) <= found.upper_bound + 1e-9
    assert gain(pool_ND, past_PD, tuple(plain)) - reached <= found.loss_bound + 1e-9
    if found.exact:
        assert own.tolist() == plain


def strong_in_one_shard() -> np.ndarray:
    """The strongest rows lie side by side, so that few candidates of each shard miss most of them."""
    pool_ND = pool(400, 20, 5)
    return pool_ND[np.argsort(-np.vecdot(pool_ND, pool_ND))]


def test_rows_that_the_shards_missed_are_found_by_the_check() -> None:
    pool_ND, past_PD = strong_in_one_shard(), np.empty((0, 20))
    plain = pick_greedily(pool_ND, past_PD, LAMBDA, 40)
    few = {"shard_bytes": 40 * 20 * 8, "per_shard": 4}
    found = pick_streamed(pool_ND, past_PD, LAMBDA, 40, **few)
    assert not found.exact
    lost = plain.log_determinant_gain - found.picks.log_determinant_gain
    assert lost <= found.loss_bound
    assert found.picks.rows_read < 3 * 400  # 2 readings, and the candidates twice
    more = pick_streamed(pool_ND, past_PD, LAMBDA, 40, readings=9, **few)
    assert more.exact and more.picks.indices_B.tolist() == plain.indices_B.tolist()
    assert more.picks.log_determinant_gain > found.picks.log_determinant_gain - 1e-9


def test_equal_rows_and_more_picks_than_dimensions() -> None:
    """Every row four times, and picks after the whole space is known: of equal rows, the first one counts."""
    pool_ND = np.tile(pool(50, 6, 8), (4, 1))
    found = pick_streamed(pool_ND, np.empty((0, 6)), LAMBDA, 60, shard_bytes=30 * 6 * 8)
    assert found.picks.indices_B.tolist() == pick_greedily(pool_ND, np.empty((0, 6)), LAMBDA, 60).indices_B.tolist()
    assert found.exact


def test_a_mapped_file_in_another_order_and_scaled(tmp_path: Path) -> None:
    rng = np.random.default_rng(3)
    pool_ND, past_PD = pool(500, 16, 9).astype(np.float16), pool(5, 16, 10)
    np.save(tmp_path / "pool.npy", pool_ND)
    order_N, scale_N = rng.permutation(500)[:450], rng.uniform(0.5, 2.0, 450)
    rows = PoolRows(np.load(tmp_path / "pool.npy", mmap_mode="r"), order_N, 60).scaled(scale_N)
    found = pick_streamed(rows, past_PD, LAMBDA, 30, shard_bytes=100 * 16 * 2)
    plain = pick_greedily(pool_ND[order_N].astype(np.float64) * scale_N[:, None], past_PD, LAMBDA, 30)
    assert found.exact and found.picks.indices_B.tolist() == plain.indices_B.tolist()
    np.testing.assert_allclose(found.picks.square_B, plain.square_B, rtol=1e-9)


def test_what_cannot_be_picked_is_refused() -> None:
    pool_ND, none_PD = pool(20, 4, 0), np.empty((0, 4))
    assert pick_streamed(pool_ND, none_PD, LAMBDA, 0).exact
    with pytest.raises(BudgetError, match="20 rows"):
        pick_streamed(pool_ND, none_PD, LAMBDA, 21)
    with pytest.raises(BudgetError, match="raise `per_shard`"):
        pick_streamed(pool_ND, none_PD, LAMBDA, 5, per_shard=3)
    with pytest.raises(DuelistError, match="at least 2 readings"):
        pick_streamed(pool_ND, none_PD, LAMBDA, 5, readings=1)


def test_the_rule_says_what_was_lost() -> None:
    features = random_features(300, frozenset({"gradient_ND", "past"}))
    plain = ActiveDPO(ActiveDPOConfig()).select(features, 20, np.random.default_rng(0))
    found = ActiveDPO(ActiveDPOConfig(readings=2)).select(features, 20, np.random.default_rng(0))
    assert found.indices_B.tolist() == plain.indices_B.tolist()
    assert found.diagnostics["logdet_loss_bound_nats"] == 0
    assert found.diagnostics["logdet_gain_bound_nats"] >= plain.diagnostics["logdet_gain_nats"]
    assert "plain greedy" in str(certificate_line(found.diagnostics))
    assert "lost at most 1.5 nats" in str(certificate_line({"logdet_loss_bound_nats": 1.5}))
    check_acquisition(ActiveDPO(ActiveDPOConfig(readings=2)))
