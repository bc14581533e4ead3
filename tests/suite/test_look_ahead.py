"""The look-ahead against a direct computation with explicit matrices, and in a world in closed form."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from scipy.special import expit

from duelist.acquisition.base import Acquisition, choose
from duelist.acquisition.random import Random
from duelist.compare.statistics import mean_interval
from duelist.errors import DuelistError
from duelist.suite.look_ahead import LookAhead, LookAheadConfig
from duelist.types import Features

BETA = 0.7


def features(phi: np.ndarray, margin: np.ndarray, truth: np.ndarray, name: str, past: Features | None) -> Features:
    ids = np.array([f"{name}{i}" for i in range(len(phi))], dtype=np.str_)
    two = np.stack([ids, ids], axis=1) if len(ids) else np.empty((0, 2), np.str_)
    length = np.ones((len(phi), 2), np.int64)
    own: dict[str, Any] = {"gradient_ND": phi, "margin_N": margin, "reward_N2K": truth, "past": past}
    return Features(ids, two, two, length, **own)


def truth_of(advantage: np.ndarray, weight: np.ndarray) -> np.ndarray:
    """The annotator is Bradley–Terry: (probabilities, rewards, weights) of both responses."""
    p = expit(advantage)
    return np.stack(
        [np.stack([p, 1 - p], 1), np.stack([advantage / 2, -advantage / 2], 1), np.stack([weight, weight], 1)], axis=2
    )


def j_by_hand(margins: list[float], advantages: list[float], weights: list[float]) -> float:
    """Reward less β KL of the policy on each pair of responses, both of probability ½ under the reference."""
    total = 0.0
    for rho, advantage, weight in zip(margins, advantages, weights, strict=True):
        a = 1 / (1 + np.exp(-rho / BETA))
        reward = a * advantage / 2 + (1 - a) * -advantage / 2
        total += weight * (reward - BETA * (a * np.log(a / 0.5) + (1 - a) * np.log((1 - a) / 0.5)))
    return total / sum(weights)


def test_each_pick_is_the_best_of_all_by_brute_force() -> None:
    rng = np.random.default_rng(0)
    n, p, d, ridge = 7, 3, 4, 0.5
    phi = rng.normal(size=(n + p, d))
    margin = phi @ rng.normal(size=d) * 0.4
    advantage, weight = rng.normal(size=n + p) * 2, rng.integers(1, 4, size=n + p).astype(float)
    truth = truth_of(advantage, weight)
    past = features(phi[n:], margin[n:], truth[n:], "past", None)
    pool = features(phi[:n], margin[:n], truth[:n], "pair", past)
    rule = LookAhead(LookAheadConfig(beta=BETA, **{"lambda": ridge}, lambda_relative=False))
    found = choose(rule, pool, 3, np.random.default_rng(1))

    information = ridge * np.eye(d)
    for i in range(n, n + p):
        q = 1 / (1 + np.exp(-margin[i]))
        information += q * (1 - q) * np.outer(phi[i], phi[i])
    left, expected = list(range(n)), []
    for _ in range(3):
        rises = {}
        for c in left:
            q = 1 / (1 + np.exp(-margin[c]))
            after = np.linalg.inv(information + q * (1 - q) * np.outer(phi[c], phi[c]))
            rises[c] = 0.0
            for y, probability in ((1, expit(advantage[c])), (0, expit(-advantage[c]))):
                moved = margin + phi @ after @ phi[c] * (y - q)
                gain = j_by_hand(moved, advantage, weight) - j_by_hand(margin, advantage, weight)  # type: ignore[arg-type]
                rises[c] += probability * gain
        best = max(rises, key=rises.__getitem__)
        expected.append((best, rises[best]))
        q = 1 / (1 + np.exp(-margin[best]))
        information += q * (1 - q) * np.outer(phi[best], phi[best])
        margin = margin + phi @ np.linalg.inv(information) @ phi[best] * (expit(advantage[best]) - q)
        left.remove(best)
    assert found.indices_B.tolist() == [c for c, _ in expected]
    assert found.scores_B == pytest.approx([rise for _, rise in expected], abs=1e-9)


def test_it_refuses_rewards_that_are_not_the_truth() -> None:
    pool = features(np.ones((2, 3)), np.zeros(2), np.zeros((2, 2, 1)), "pair", None)
    past = features(np.ones((0, 3)), np.zeros(0), np.zeros((0, 2, 1)), "past", None)
    pool = Features(**{**vars(pool), "past": past})
    with pytest.raises(DuelistError, match=r"3 numbers per response .* but got 1"):
        choose(LookAhead(LookAheadConfig(beta=1.0)), pool, 1, np.random.default_rng(0))


def fit(phi: np.ndarray, label: np.ndarray, ridge: float) -> np.ndarray:
    """The posterior mode of a logistic regression, by Newton's method."""
    theta = np.zeros(phi.shape[1])
    for _ in range(12):
        q = expit(phi @ theta)
        hessian = ridge * np.eye(len(theta)) + phi.T @ (phi * (q * (1 - q))[:, None])
        theta += np.linalg.solve(hessian, phi.T @ (label - q) - ridge * theta)
    return theta


def final_j(rule: Acquisition, seed: int) -> float:
    """J on pairs that were never in the pool, after four batches of eight labels in a log-linear world."""
    rng = np.random.default_rng(seed)
    d, n, ridge = 12, 90, 1.0
    scale = np.array([2.0, 2.0, *[0.5] * (d - 2)])  # two directions make most of the pool
    phi, held = rng.normal(size=(n, d)) * scale, rng.normal(size=(400, d)) * scale
    theta = rng.normal(size=d) * 1.5
    advantage, label_N = phi @ theta, (rng.random(n) < expit(phi @ theta)).astype(float)
    asked: list[int] = []
    estimate = np.zeros(d)
    for t in range(4):
        left = [i for i in range(n) if i not in asked]
        truth = truth_of(advantage, np.ones(n))
        margin = phi @ estimate
        past = features(phi[asked], margin[asked], truth[asked], "past", None)
        pool = features(phi[left], margin[left], truth[left], "pair", past)
        asked += [left[i] for i in choose(rule, pool, 8, np.random.default_rng([seed, t])).indices_B]
        estimate = fit(phi[asked], label_N[asked], ridge)
    return j_by_hand((held @ estimate).tolist(), (held @ theta).tolist(), [1.0] * 400)


def test_a_planted_rule_that_peeks_at_the_oracle_is_better_than_random() -> None:
    peeks = LookAhead(LookAheadConfig(beta=BETA, **{"lambda": 1.0}, lambda_relative=False))
    gains = mean_interval([final_j(peeks, seed) - final_j(Random(), seed) for seed in range(10)])
    assert gains.half_width is not None and gains.mean - gains.half_width > 0
