"""Fitted stage scales against planted ones, simulated people, differences, enumeration and the pairs' temperature."""

from __future__ import annotations

from itertools import pairwise, permutations
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.optimize import approx_fprime, minimize

from duelist.acquisition.numerics.calibration import fit_temperature
from duelist.answers import REST
from duelist.choice_models.stage_scales import (
    SCALE_DEVIATION,
    TEMPERATURE_DEVIATION,
    fit_stage_scales,
    grid_minimum,
    negative_log_posterior,
    stage_likelihoods,
)


def ranked(rng: np.random.Generator, reward_XQ: np.ndarray, scales: Any, temperature: float = 1.0) -> np.ndarray:
    """Ranks by people who choose stage by stage, softmax(s_j r / τ)."""
    rank_XQ = np.zeros(reward_XQ.shape, dtype=np.int64)
    for x, reward_Q in enumerate(reward_XQ):
        left = list(range(len(reward_Q)))
        for stage in range(len(reward_Q)):
            s = scales[min(stage, len(scales) - 1)]
            odds = np.exp(s * reward_Q[left] / temperature)
            chosen = rng.choice(len(left), p=odds / odds.sum())
            rank_XQ[x, left.pop(chosen)] = stage
    return rank_XQ


def asks(n: int, what: str = "ranking") -> np.ndarray:
    return np.full(n, what)


def plain_loss(log_X: np.ndarray, reward_XQ: np.ndarray, rank_XQ: np.ndarray, asks_X: np.ndarray) -> float:
    """The objective by enumeration of all orders, answer by answer; a scale for every stage."""
    tau, scales = np.exp(log_X[0]), np.exp([0.0, *log_X[1:]])
    total = log_X[0] ** 2 / (2 * TEMPERATURE_DEVIATION**2) + (log_X[1:] ** 2).sum() / (2 * SCALE_DEVIATION**2)
    for reward_Q, rank_Q, what in zip(reward_XQ, rank_XQ, asks_X, strict=True):
        known = [i for i in range(len(rank_Q)) if rank_Q[i] >= 0]
        r = reward_Q / tau
        if what == "best_worst":
            (best,), (worst,) = ([i for i in known if rank_Q[i] == k] for k in (0, 2))
            total -= r[best] - r[worst] - np.log(sum(np.exp(r[i] - r[j]) for i in known for j in known if i != j))
            continue
        orders = [o for o in permutations(known) if all(rank_Q[a] <= rank_Q[b] for a, b in pairwise(o))]
        for order in orders:
            for stage in range(len(order) - 1):
                if rank_Q[order[stage]] < REST:
                    v = scales[stage] * r
                    left = np.log(np.exp(v[list(order[stage:])]).sum())
                    total += (left - v[order[stage]]) / len(orders)
    return float(total)


def mixed(rng: np.random.Generator, n: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Answers of all kinds about two to four responses: ties, stopped rankings, the best, the best and the worst."""
    patterns = [
        ("pair", (0, 1)), ("pair", (0, 0)), ("ranking", (0, 1, 2, 3)), ("ranking", (0, 1, 1, 2)),
        ("ranking", (0, 1, 2)), ("ranking", (0, 1, REST, REST)), ("ranking", (0, 0, 0, REST)),
        ("best_of_k", (0, REST, REST)), ("best_worst", (0, 1, 1, 2)), ("best_worst", (0, 1, 2)),
    ]  # fmt: skip
    reward_XQ, rank_XQ, asks_X = np.zeros((n, 4)), np.full((n, 4), -1), []
    for x in range(n):
        what, ranks = patterns[x % len(patterns)]
        asks_X.append(what)
        k = len(ranks)
        reward_XQ[x, :k], rank_XQ[x, :k] = rng.normal(size=k), rng.permutation(ranks)
    return reward_XQ, rank_XQ, np.array(asks_X)


@pytest.mark.parametrize("temperature", [0.5, 2.0])
def test_planted_scales_are_found(temperature: float) -> None:
    """People whose noise grows by half with each place."""
    rng = np.random.default_rng(0)
    reward_XQ = rng.normal(scale=1.5 * temperature, size=(1500, 5))
    planted = np.array([1 / (1 + 0.5 * j) for j in range(4)])
    found = fit_stage_scales(reward_XQ, ranked(rng, reward_XQ, planted, temperature), asks(1500))
    assert found.temperature == pytest.approx(temperature, rel=0.08)
    np.testing.assert_allclose(found.scale_X, planted, atol=0.1)
    assert found.scale_X[0] == 1.0


def test_equal_scales_are_found() -> None:
    rng = np.random.default_rng(1)
    reward_XQ = rng.normal(size=(800, 4))
    found = fit_stage_scales(reward_XQ, ranked(rng, reward_XQ, [1.0]), asks(800))
    np.testing.assert_allclose(found.scale_X, 1.0, atol=0.15)
    assert found.temperature == pytest.approx(1.0, abs=0.1)


@pytest.mark.parametrize("seed", [0, 1])
def test_the_fit_is_the_minimum_of_the_enumerated_objective(seed: int) -> None:
    rng = np.random.default_rng(seed)
    data = mixed(rng, 20)
    found = fit_stage_scales(*data)
    at = np.log([found.temperature, *found.scale_X[1:]])
    best = plain_loss(at, *data)
    again = minimize(plain_loss, np.zeros(3), args=data, method="Nelder-Mead", options={"fatol": 1e-9, "xatol": 1e-6})
    assert best <= again.fun + 1e-7
    for step in np.eye(3) * 1e-3:
        assert best < plain_loss(at + step, *data) and best < plain_loss(at - step, *data)


def test_the_objective_and_its_gradient_are_the_enumerated_ones() -> None:
    rng = np.random.default_rng(3)
    reward_XQ, rank_XQ, asks_X = mixed(rng, 20)
    likelihoods = stage_likelihoods(reward_XQ, rank_XQ, asks_X == "best_worst")
    for at in rng.normal(scale=0.5, size=(5, 3)):
        value, gradient_X = negative_log_posterior(at, likelihoods)
        assert value == pytest.approx(plain_loss(at, reward_XQ, rank_XQ, asks_X), rel=1e-10)
        difference = approx_fprime(at, plain_loss, 1e-7, reward_XQ, rank_XQ, asks_X)
        np.testing.assert_allclose(gradient_X, difference, atol=1e-5)


def test_the_grid_begins_next_to_the_lowest_of_two_minima() -> None:
    """Tiny margins that are always right: one minimum near τ = 1 by the prior, the lower one far below."""
    reward_XQ = np.tile([2e-3, 1e-3, 0.0], (40, 1))
    rank_XQ = np.tile([0, 1, 2], (40, 1))
    likelihoods = stage_likelihoods(reward_XQ, rank_XQ, np.zeros(40, dtype=bool))
    start = grid_minimum(likelihoods)
    assert start[0] < -4
    assert negative_log_posterior(start, likelihoods)[0] < negative_log_posterior(np.zeros(2), likelihoods)[0]
    assert fit_stage_scales(reward_XQ, rank_XQ, asks(40)).temperature < 0.02


@given(st.integers(0, 2**32 - 1), st.sampled_from([1e-3, 0.1, 1.0, 10.0]))
def test_pairs_alone_give_the_temperature_of_the_pairs(seed: int, size: float) -> None:
    rng = np.random.default_rng(seed)
    n = int(rng.integers(1, 60))
    reward_X2 = size * rng.normal(size=(n, 2))
    right_X = rng.random(n) < 0.8
    first_X = (reward_X2[:, 0] > reward_X2[:, 1]) == right_X
    rank_X2 = np.where(first_X[:, None], [0, 1], [1, 0])
    votes_X2 = np.where(first_X[:, None], [1, 0], [0, 1])
    expected = fit_temperature(reward_X2[:, 0] - reward_X2[:, 1], votes_X2)
    found = fit_stage_scales(reward_X2, rank_X2, asks(n, "pair"))
    assert found.temperature == pytest.approx(expected, rel=1e-6)
    assert found.scale_X.tolist() == [1.0]


def test_answers_of_one_choice_inform_the_temperature_only() -> None:
    rng = np.random.default_rng(5)
    reward_XQ = rng.normal(scale=2.0, size=(400, 4))
    rank_XQ = ranked(rng, reward_XQ, [1.0], 3.0)
    best_XQ = np.where(rank_XQ == 0, 0, REST)
    odds = [np.exp((r[:, None] - r[None, :]) / 3.0) * (1 - np.eye(4)) for r in reward_XQ]
    both = [divmod(int(rng.choice(16, p=(o / o.sum()).ravel())), 4) for o in odds]
    best_worst_XQ = np.array([[0 if i == b else 2 if i == w else 1 for i in range(4)] for b, w in both])
    for what, ranks in (("best_of_k", best_XQ), ("best_worst", best_worst_XQ)):
        found = fit_stage_scales(reward_XQ, ranks, asks(400, what))
        assert found.temperature == pytest.approx(3.0, rel=0.25)
        assert found.scale_X.tolist() == [1.0, 1.0, 1.0]


def test_without_information_everything_is_one() -> None:
    for reward_XQ, rank_XQ, what in (
        (np.zeros((0, 4)), np.zeros((0, 4), dtype=np.int64), "ranking"),
        (np.zeros((3, 4)), np.tile([2, 0, 1, 3], (3, 1)), "ranking"),
        (np.zeros((3, 4)), np.tile([2, 0, 1, 1], (3, 1)), "best_worst"),
        (np.array([[1.5, 1.5, 0.0]]), np.array([[0, 1, -1]]), "pair"),
    ):
        found = fit_stage_scales(reward_XQ, rank_XQ, asks(len(reward_XQ), what))
        assert found.temperature == 1.0
        assert found.scale_X.tolist() == [1.0] * (reward_XQ.shape[1] - 1)


def test_a_stage_that_nobody_reached_keeps_a_scale_of_one() -> None:
    rng = np.random.default_rng(7)
    reward_XQ = rng.normal(size=(200, 4))
    rank_XQ = ranked(rng, reward_XQ, [1.0, 0.3])
    found = fit_stage_scales(reward_XQ, np.where(rank_XQ < 2, rank_XQ, REST), asks(200))
    assert found.scale_X[1] < 0.7 and found.scale_X[2] == 1.0


def test_the_order_of_responses_and_answers_and_padding_change_nothing() -> None:
    rng = np.random.default_rng(8)
    reward_XQ, rank_XQ, asks_X = mixed(rng, 30)
    found = fit_stage_scales(reward_XQ, rank_XQ, asks_X)
    places = np.argsort(rng.random(reward_XQ.shape), axis=1)
    moved = [np.take_along_axis(x, places, axis=1) for x in (reward_XQ, rank_XQ)]
    answers = rng.permutation(30)
    wider = (
        np.pad(moved[0][answers], ((0, 0), (0, 1))),
        np.pad(moved[1][answers], ((0, 0), (0, 1)), constant_values=-1),
    )
    again = fit_stage_scales(*wider, asks_X[answers])
    assert again.temperature == pytest.approx(found.temperature, rel=1e-6)
    np.testing.assert_allclose(again.scale_X, [*found.scale_X, 1.0], rtol=1e-6)
