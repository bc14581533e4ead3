"""The greedy engine against an explicit inverse of V, in float64."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from duelist.acquisition.activedpo import ActiveDPO, ActiveDPOConfig
from duelist.acquisition.base import choose
from duelist.acquisition.greedy import greedy_uncertainty
from duelist.acquisition.initial_random import InitialRandom
from duelist.testing import random_features


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


@settings(max_examples=60, deadline=None)
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
