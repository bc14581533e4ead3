"""The greedy engine against an explicit inverse of V, in float64, and against exact arithmetic."""

from __future__ import annotations

import dataclasses
from fractions import Fraction
from pathlib import Path
from unittest import mock

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from duelist.acquisition.activedpo import ActiveDPO, ActiveDPOConfig
from duelist.acquisition.base import choose
from duelist.acquisition.initial_random import InitialRandom
from duelist.acquisition.numerics import greedy, lazy_search
from duelist.acquisition.numerics.greedy import pick_greedily
from duelist.acquisition.numerics.pool_rows import PoolRows
from duelist.errors import BudgetError, DuelistError, NumericalError
from duelist.testing import random_features
from tiers import first


def greedy_uncertainty(
    phi_ND: np.ndarray, past_PD: np.ndarray, regularizer: float, budget: int
) -> tuple[np.ndarray, np.ndarray]:
    """The engine's picks, and ‖φ‖²_{V⁻¹} of each at the moment it was picked."""
    picks = greedy.pick_greedily(phi_ND, past_PD, regularizer, budget)
    return picks.indices_B, picks.square_B


def brute_force(
    phi_ND: np.ndarray, past_PD: np.ndarray, regularizer: float, budget: int
) -> tuple[list[int], list[float]]:
    """Equations (3) and (4) as they are written: V formed, inverted and updated at every pick."""
    v = regularizer * np.eye(phi_ND.shape[1]) + past_PD.T @ past_PD
    left, picks, scores = list(range(len(phi_ND))), [], []
    for _ in range(budget):
        inverse = np.linalg.inv(v)
        score = [phi_ND[i] @ inverse @ phi_ND[i] for i in left]
        best = int(np.argmax(score))
        picks.append(left.pop(best))
        scores.append(score[best])
        v = v + np.outer(phi_ND[picks[-1]], phi_ND[picks[-1]])
    return picks, scores


@given(
    n=st.integers(1, 25),
    d=st.integers(1, 12),
    p=st.integers(0, 20),
    log_lambda=st.floats(-4, 2),
    seed=st.integers(0, 10**6),
    data=st.data(),
)
def test_equals_brute_force(n: int, d: int, p: int, log_lambda: float, seed: int, data: st.DataObject) -> None:
    rng = np.random.default_rng(seed)
    phi_ND, past_PD = rng.normal(size=(n, d)), rng.normal(size=(p, d))
    budget = data.draw(st.integers(1, n))
    picks, scores = greedy_uncertainty(phi_ND, past_PD, 10.0**log_lambda, budget)
    expected_picks, expected_scores = brute_force(phi_ND, past_PD, 10.0**log_lambda, budget)
    np.testing.assert_allclose(scores, expected_scores, rtol=1e-5, atol=1e-9)
    # Once the pool spans all D dimensions, scores can agree to rounding: picks must agree where the best is clear.
    assert picks.tolist()[: min(d, budget)] == expected_picks[: min(d, budget)]


def test_gains_never_rise_and_sum_to_the_log_determinant() -> None:
    rng = np.random.default_rng(3)
    phi_ND, past_PD = rng.normal(size=(40, 10)), rng.normal(size=(6, 10))
    picks, scores = greedy_uncertainty(phi_ND, past_PD, 0.5, 15)
    assert (np.diff(scores) <= 1e-12).all()
    before = 0.5 * np.eye(10) + past_PD.T @ past_PD
    after = before + phi_ND[picks].T @ phi_ND[picks]
    gained = np.linalg.slogdet(after)[1] - np.linalg.slogdet(before)[1]
    np.testing.assert_allclose(np.log1p(scores).sum(), gained, rtol=1e-10)


def test_more_dimensions_than_pairs() -> None:
    rng = np.random.default_rng(4)
    phi_ND, past_PD = rng.normal(size=(30, 200)), rng.normal(size=(10, 200))
    picks, scores = greedy_uncertainty(phi_ND.astype(np.float32), past_PD.astype(np.float32), 2.0, 20)
    expected, expected_scores = brute_force(
        phi_ND.astype(np.float32).astype(float), past_PD.astype(np.float32).astype(float), 2.0, 20
    )
    assert picks.tolist() == expected
    np.testing.assert_allclose(scores, expected_scores, rtol=1e-9)


def test_lambda_is_relative_to_the_mean_square_norm() -> None:
    features = random_features(20, frozenset({"gradient_ND"}))
    assert features.gradient_ND is not None
    mean_square = float((features.gradient_ND.astype(float) ** 2).sum(axis=1).mean())
    relative = choose(ActiveDPO(ActiveDPOConfig(lambda_=0.1)), features, 8, np.random.default_rng(0))
    absolute_rule = ActiveDPO(ActiveDPOConfig(lambda_=0.1 * mean_square, lambda_relative=False))
    absolute = choose(absolute_rule, features, 8, np.random.default_rng(0))
    assert relative.indices_B.tolist() == absolute.indices_B.tolist()
    assert relative.diagnostics["lambda"] == pytest.approx(0.1 * mean_square)


def test_a_pool_without_any_gradient_is_a_fair_draw() -> None:
    features = random_features(20, frozenset({"gradient_ND"}))
    assert features.gradient_ND is not None
    features.gradient_ND[:] = 0
    selection = choose(ActiveDPO(ActiveDPOConfig()), features, 5, np.random.default_rng(0))
    assert selection.scores_B.tolist() == [0.0] * 5


def test_initial_random_counts_its_picks_as_past() -> None:
    features = random_features(20, frozenset({"gradient_ND"}))
    assert features.gradient_ND is not None and features.past is not None and features.past.gradient_ND is not None
    rule = ActiveDPO(ActiveDPOConfig(lambda_=0.7, lambda_relative=False))
    selection = choose(InitialRandom(rule, 3, 8), features, 8, np.random.default_rng(0))
    drawn, chosen = selection.indices_B[:3], selection.indices_B[3:]
    rest = np.setdiff1d(np.arange(20), drawn)
    past_PD = np.concatenate([features.past.gradient_ND, features.gradient_ND[drawn]])
    expected, _ = brute_force(features.gradient_ND[rest], past_PD, 0.7, 5)
    assert chosen.tolist() == rest[expected].tolist()


def test_a_wholly_random_first_batch_needs_no_features() -> None:
    rule = InitialRandom(ActiveDPO(ActiveDPOConfig()), 8, 8)
    assert rule.needs == frozenset()
    assert len(choose(rule, random_features(20, frozenset()), 8, np.random.default_rng(0)).indices_B) == 8


def rounding(square: float, residual: float, part: float) -> float:
    """The documented tie rule: half of what two rows of the same |φ|² may differ by."""
    return 0.5 * max(part * np.sqrt(square * max(residual, 0.0)), 1e-12 * square)


def exact_picks(
    pool_ND: np.ndarray, past_PD: np.ndarray, regularizer: Fraction, budget: int, part: float = 0.0
) -> list[int]:
    """The greedy picks without any rounding; the first that comes within rounding of the best is taken."""
    rows = [[Fraction(int(x)) for x in row] for row in (*past_PD, *pool_ND)]
    n_past = len(past_PD)
    kernel = [[sum(x * y for x, y in zip(a, b, strict=True)) for b in rows] for a in rows]  # λ φᵀV⁻¹ψ as V grows

    def add(u: int) -> None:
        along = list(kernel[u])
        scale = regularizer + along[u]
        for i in range(len(rows)):
            for j in range(len(rows)):
                kernel[i][j] -= along[i] * along[j] / scale

    for u in range(n_past):
        add(u)
    picks: list[int] = []
    for _ in range(budget):
        left = [i for i in range(len(pool_ND)) if i not in picks]
        score = {i: kernel[n_past + i][n_past + i] for i in left}
        noise = {i: Fraction(rounding(float((pool_ND[i] ** 2).sum()), float(score[i]), part)) for i in left}
        best = max(left, key=score.__getitem__)
        picks.append(next(i for i in left if score[i] + noise[i] >= score[best] - noise[best]))
        add(n_past + picks[-1])
    return picks


@given(data=st.data(), seed=st.integers(0, 10**6))
def test_equals_exact_arithmetic_on_pools_full_of_ties(data: st.DataObject, seed: int) -> None:
    """Duplicates, ranks below the dimensions, zero rows: in every block size, type, storage order and first look."""
    n, d, p = data.draw(st.integers(1, 14)), data.draw(st.integers(1, 6)), data.draw(st.integers(0, 7))
    rng = np.random.default_rng(seed)
    distinct = rng.integers(-2, 3, size=(max(1, n // 2), d))
    pool_ND, past_PD = distinct[rng.integers(0, len(distinct), n)], rng.integers(-2, 3, size=(p, d))
    budget = data.draw(st.integers(1, min(n, 8)))
    dtype = data.draw(st.sampled_from([np.float16, np.float32, np.float64]))
    part = 1e-12 if dtype is np.float64 else 1e-6
    expected = exact_picks(pool_ND, past_PD, Fraction(1, 8), budget, part)
    stored = np.zeros((n + 3, d), dtype)  # rows of no concern stand among the pool's
    order_N = rng.permutation(n + 3)[:n]
    stored[order_N] = pool_ND
    rows = PoolRows(stored, order_N, block_rows=data.draw(st.integers(1, 5)))
    with mock.patch.object(lazy_search, "FIRST_LOOK", data.draw(st.integers(1, 4))):
        assert pick_greedily(rows, past_PD.astype(dtype), 0.125, budget).indices_B.tolist() == expected


def plain_greedy(pool_ND: np.ndarray, past_PD: np.ndarray, regularizer: float, budget: int) -> list[int]:
    """Every score brought up to date at every step, by the dual recurrence as it stands."""
    pool_ND, past_PD = pool_ND.astype(np.float64), past_PD.astype(np.float64)
    rows, p = np.concatenate([past_PD, pool_ND]), len(past_PD)
    residual = (rows**2).sum(axis=1)
    square = residual[p:].copy()
    along = np.zeros((0, len(rows)))
    picks: list[int] = []
    for step in range(p + budget):
        u = step
        if step >= p:
            left = residual[p:].copy()
            left[picks] = -np.inf
            noise = np.array([rounding(x, r, 1e-6) for x, r in zip(square, left, strict=True)])
            picks.append(int(np.argmax(left + noise >= left.max() - noise[left.argmax()])))
            u = p + picks[-1]
        along = np.vstack([along, (rows @ rows[u] - along[:, u] @ along) / np.sqrt(regularizer + residual[u])])
        residual -= along[-1] ** 2
    return picks


def low_rank_pool(n: int, d: int, seed: int) -> np.ndarray:
    """Rows like real gradients: few strong directions, uneven lengths, some noise."""
    rng = np.random.default_rng(seed)
    strong = rng.normal(size=(n, 12)) / np.arange(1, 13) @ rng.normal(size=(12, d))
    return (strong * np.exp(0.4 * rng.normal(size=(n, 1))) + 0.3 * rng.normal(size=(n, d))).astype(np.float32)


@pytest.mark.parametrize("dtype", [np.float16, np.float32])
def test_a_mapped_file_gives_the_plain_picks_and_is_hardly_read_again(tmp_path: Path, dtype: type) -> None:
    drawn = low_rank_pool(6020, 256, seed=0).astype(dtype)
    pool_ND, past_PD = drawn[:6000], drawn[6000:]
    np.save(tmp_path / "pool.npy", pool_ND)
    mapped = np.load(tmp_path / "pool.npy", mmap_mode="r")
    expected = plain_greedy(pool_ND, past_PD, 0.3, 50)
    for block_rows in (None, 150, 7000):
        picks = pick_greedily(mapped, past_PD, 0.3, 50, block_rows=block_rows)
        assert picks.indices_B.tolist() == expected
        assert 6000 <= picks.rows_read <= 3 * 6000


def test_equal_norms_leave_the_choice_to_the_order() -> None:
    """Scores that are equal but for rounding: with unit rows, every first score is 1."""
    pool_ND = low_rank_pool(800, 32, seed=5)
    pool_ND /= np.linalg.norm(pool_ND, axis=1, keepdims=True)
    picks = pick_greedily(pool_ND, np.empty((0, 32)), 0.1, 20)
    assert picks.indices_B[0] == 0
    assert picks.indices_B.tolist() == plain_greedy(pool_ND, np.empty((0, 32)), 0.1, 20)


@pytest.mark.parametrize("in_past", [False, True])
def test_one_huge_row_does_not_make_equals_of_all_others(in_past: bool) -> None:
    rng = np.random.default_rng(9)
    pool_ND, past_PD = rng.normal(size=(200, 12)).astype(np.float32), np.empty((0, 12), np.float32)
    pool_ND[50] *= 3000
    if in_past:  # then the huge row of the pool is known but for a little
        past_PD = pool_ND[50:51] + rng.normal(size=(1, 12)).astype(np.float32)
    expected = brute_force(pool_ND.astype(float), past_PD.astype(float), 0.01, 11)[0]
    for cost_N in (None, np.ones(200)):
        assert pick_greedily(pool_ND, past_PD, 0.01, 11, cost_N=cost_N).indices_B.tolist() == expected


@pytest.mark.parametrize("cost", [None, 2.0])
@pytest.mark.parametrize("seed", first(2, range(4)))
def test_what_the_past_has_explained_is_told_apart(seed: int, cost: float | None) -> None:
    """More past pairs than dimensions, and a small λ: what is left of |φ|² is below a millionth of it, and decides."""
    rng = np.random.default_rng(seed)
    pool_ND, past_PD = rng.integers(-99, 100, size=(16, 3)), rng.integers(-99, 100, size=(20, 3))
    expected = exact_picks(pool_ND, past_PD, Fraction(1, 100), 8, 1e-6)
    cost_N = None if cost is None else np.full(16, cost)
    picks = pick_greedily(pool_ND.astype(np.float32), past_PD.astype(np.float32), 0.01, 8, cost_N=cost_N)
    assert (picks.square_B * 0.01 < 1e-6 * (pool_ND**2).sum(axis=1).max()).all()
    assert picks.indices_B.tolist() == expected


def test_a_tiny_lambda_keeps_the_picks_of_exact_arithmetic() -> None:
    rng = np.random.default_rng(8)
    pool_ND, past_PD = rng.integers(-9, 10, size=(16, 24)), rng.integers(-9, 10, size=(5, 24))
    expected = exact_picks(pool_ND, past_PD, Fraction(1, 10**6), 12)
    assert greedy_uncertainty(pool_ND.astype(np.float32), past_PD, 1e-6, 12)[0].tolist() == expected


def test_known_norms_spare_the_first_reading() -> None:
    pool_ND = low_rank_pool(1000, 48, seed=2)
    norms_N = (pool_ND.astype(np.float64) ** 2).sum(axis=1)
    with_norms = pick_greedily(pool_ND, np.empty((0, 48)), 0.1, 30, square_norm_N=norms_N)
    without = pick_greedily(pool_ND, np.empty((0, 48)), 0.1, 30)
    assert with_norms.indices_B.tolist() == without.indices_B.tolist()
    assert with_norms.rows_read == without.rows_read - 1000


def test_a_lambda_that_is_lost_to_rounding_is_refused() -> None:
    with pytest.raises(NumericalError, match="give a larger λ"):
        greedy_uncertainty(np.eye(6), np.full((3, 6), 1e8), 1e-7, 1)


def test_more_past_than_dimensions() -> None:
    rng = np.random.default_rng(6)
    pool_ND, past_PD = rng.normal(size=(30, 5)), rng.normal(size=(200, 5))
    picks, scores = greedy_uncertainty(pool_ND, past_PD, 0.01, 6)
    expected, expected_scores = brute_force(pool_ND, past_PD, 0.01, 6)
    assert picks.tolist() == expected
    np.testing.assert_allclose(scores, expected_scores, rtol=1e-9)


def test_what_cannot_be_picked_from_is_refused() -> None:
    pool_ND, none_PD = np.ones((4, 3)), np.empty((0, 3))
    with pytest.raises(BudgetError, match="5 and 4 rows"):
        pick_greedily(pool_ND, none_PD, 1.0, 5)
    with pytest.raises(DuelistError, match="positive"):
        pick_greedily(pool_ND, none_PD, 0.0, 2)
    with pytest.raises(DuelistError, match="same dimensions"):
        pick_greedily(pool_ND, np.empty((0, 2)), 1.0, 2)
    pool_ND[2, 1] = np.inf
    with pytest.raises(NumericalError, match="row 2"):
        pick_greedily(pool_ND, none_PD, 1.0, 2)


@pytest.mark.parametrize("initial", [0, 3])
def test_a_mapped_pool_is_chosen_from_as_one_in_memory(tmp_path: Path, initial: int) -> None:
    features = random_features(40, frozenset({"gradient_ND"}))
    assert features.gradient_ND is not None
    np.save(tmp_path / "pool.npy", features.gradient_ND)
    mapped = dataclasses.replace(features, gradient_ND=np.load(tmp_path / "pool.npy", mmap_mode="r"))
    rule = InitialRandom(ActiveDPO(ActiveDPOConfig()), initial, 8) if initial else ActiveDPO(ActiveDPOConfig())
    in_memory = choose(rule, features, 8, np.random.default_rng(0))
    assert choose(rule, mapped, 8, np.random.default_rng(0)).indices_B.tolist() == in_memory.indices_B.tolist()


def test_a_mapped_pool_with_a_nan_is_refused_by_name(tmp_path: Path) -> None:
    features = random_features(40, frozenset({"gradient_ND"}))
    assert features.gradient_ND is not None
    features.gradient_ND[17, 4] = np.nan
    np.save(tmp_path / "pool.npy", features.gradient_ND)
    mapped = dataclasses.replace(features, gradient_ND=np.load(tmp_path / "pool.npy", mmap_mode="r"))
    with pytest.raises(NumericalError, match="candidate17 holds nan"):
        choose(ActiveDPO(ActiveDPOConfig()), mapped, 8, np.random.default_rng(0))


def test_a_copy_on_write_pool_keeps_what_was_written(tmp_path: Path) -> None:
    np.save(tmp_path / "pool.npy", np.ones((6, 3)))
    private = np.load(tmp_path / "pool.npy", mmap_mode="c")
    private[4] = 5.0
    for _ in range(2):
        assert pick_greedily(private, np.empty((0, 3)), 1.0, 1).indices_B.tolist() == [4]
