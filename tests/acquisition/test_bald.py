"""BALD and BatchBALD against their definitions, summed label by label, and what mutual information must obey."""

from __future__ import annotations

import dataclasses
import math
from itertools import product

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from duelist.acquisition.bald import BALD, BALDConfig, mutual_information
from duelist.acquisition.base import Acquisition, choose
from duelist.acquisition.batchbald import BatchBALD, BatchBALDConfig
from duelist.recipe.component import Component
from duelist.testing import check_acquisition, random_features
from duelist.types import Features

SAMPLES = frozenset({"reward_N2K"})


@pytest.mark.parametrize("name", ["bald", "batchbald"])
@pytest.mark.parametrize("settings", [{}, {"posterior": "samples"}, {"features": "embedding", "lambda": 0.1}])
def test_they_conform(name: str, settings: dict[str, object]) -> None:
    check_acquisition(Component.of(Acquisition, {"name": name, **settings}).build())


def test_sampled_configurations_conform() -> None:
    check_acquisition(BatchBALD(BatchBALDConfig(posterior="samples", exact_picks=1, configurations=16)))


def binary_entropy(p: float) -> float:
    return -sum(x * math.log(x) for x in (p, 1 - p) if x > 0)


def probabilities(features: Features) -> list[list[float]]:
    assert features.reward_N2K is not None
    rows = features.reward_N2K.tolist()
    return [[1 / (1 + math.exp(b - a)) for a, b in zip(*row, strict=True)] for row in rows]


def joint_information(p_NK: list[list[float]], batch: list[int]) -> float:
    """H(y_1 ... y_b) − mean_k Σ H(y_i | k), over all 2^b outcomes."""
    k = len(p_NK[0])
    joint = 0.0
    for outcome in product((True, False), repeat=len(batch)):
        mass = sum(
            math.prod(p_NK[i][j] if y else 1 - p_NK[i][j] for i, y in zip(batch, outcome, strict=True))
            for j in range(k)
        )
        joint -= mass / k * math.log(mass / k) if mass > 0 else 0.0
    return joint - sum(sum(map(binary_entropy, p_NK[i])) / k for i in batch)


def test_bald_equals_its_definition() -> None:
    features = random_features(30, SAMPLES, seed=2)
    p_NK = probabilities(features)
    information = np.array([joint_information(p_NK, [i]) for i in range(30)])
    chosen = choose(BALD(BALDConfig(posterior="samples")), features, 9, np.random.default_rng(0))
    assert chosen.indices_B.tolist() == np.argsort(-information)[:9].tolist()
    np.testing.assert_allclose(chosen.scores_B, information[chosen.indices_B], rtol=1e-9)
    assert chosen.diagnostics["gain_nats"] == pytest.approx(chosen.scores_B[-1])


def test_bald_per_second() -> None:
    features = random_features(30, SAMPLES | {"cost_N"}, seed=2)
    assert features.cost_N is not None
    information = np.array([joint_information(probabilities(features), [i]) for i in range(30)])
    chosen = choose(BALD(BALDConfig(posterior="samples")), features, 9, np.random.default_rng(0))
    assert chosen.indices_B.tolist() == np.argsort(-information / features.cost_N)[:9].tolist()
    assert chosen.diagnostics["gain_nats"] == pytest.approx(np.delete(information, chosen.indices_B).max())


def test_batchbald_per_second_bounds_what_is_left() -> None:
    rule, cheap = BatchBALD(BatchBALDConfig(posterior="samples")), 0
    for seed in range(6):
        features = random_features(14, SAMPLES, seed=seed)
        cost_N = np.exp(np.random.default_rng(seed).normal(size=14))
        chosen = choose(rule, dataclasses.replace(features, cost_N=cost_N), 3, np.random.default_rng(0))
        p_NK, batch = probabilities(features), chosen.indices_B.tolist()
        reached = joint_information(p_NK, batch)
        left = max(joint_information(p_NK, [*batch, i]) - reached for i in range(14) if i not in batch)
        assert left <= chosen.diagnostics["gain_nats"] + 1e-12
        cheap += chosen.scores_B[-1] * cost_N[batch[-1]] < left
    assert cheap  # else the last pick would have been bound enough


@given(st.lists(st.lists(st.floats(-1e4, 1e4), min_size=4, max_size=4), min_size=1, max_size=5))
def test_information_is_finite_and_bounded(margins: list[list[float]]) -> None:
    information = mutual_information(np.array(margins))
    assert np.isfinite(information).all()
    assert (information >= 0).all() and (information <= math.log(2) + 1e-12).all()


def test_certain_labels() -> None:
    """At p = 0 and p = 1 there is no NaN: all agree, one nat-fraction of disagreement, half against half."""
    margins = np.array([[1e4, 1e4, 1e4, 1e4], [1e4, 1e4, 1e4, -1e4], [1e4, -1e4, 1e4, -1e4]])
    expected = [0.0, binary_entropy(0.25), math.log(2)]
    np.testing.assert_allclose(mutual_information(margins), expected, atol=1e-15)


@pytest.mark.parametrize("priced", [False, True])
@pytest.mark.parametrize("seed", range(4))
def test_batchbald_equals_plain_greedy_over_all_outcomes(seed: int, priced: bool) -> None:
    features = random_features(14, SAMPLES | ({"cost_N"} if priced else frozenset()), seed=seed)
    p_NK = probabilities(features)
    cost = features.cost_N if features.cost_N is not None else np.ones(14)
    batch: list[int] = []
    gains = []
    for _ in range(6):
        before = joint_information(p_NK, batch)
        gain = {i: joint_information(p_NK, [*batch, i]) - before for i in range(14) if i not in batch}
        batch.append(max(gain, key=lambda i: gain[i] / cost[i]))
        gains.append(gain[batch[-1]] / cost[batch[-1]])
    rule = BatchBALD(BatchBALDConfig(posterior="samples", exact_picks=6))
    chosen = choose(rule, features, 6, np.random.default_rng(0))
    assert chosen.indices_B.tolist() == batch
    np.testing.assert_allclose(chosen.scores_B, gains, rtol=1e-7)
    assert chosen.diagnostics["information_nats"] == pytest.approx(joint_information(p_NK, batch))


def test_sampled_configurations_come_near_the_exact_gain() -> None:
    features = random_features(14, SAMPLES, seed=1)
    exact = choose(
        BatchBALD(BatchBALDConfig(posterior="samples", exact_picks=8)), features, 8, np.random.default_rng(0)
    )
    totals = []
    for seed in range(20):
        rule = BatchBALD(BatchBALDConfig(posterior="samples", exact_picks=0, configurations=400))
        chosen = choose(rule, features, 8, np.random.default_rng(seed))
        truly = joint_information(probabilities(features), chosen.indices_B.tolist())
        assert truly > 0.98 * exact.diagnostics["information_nats"]  # hardly worse batches
        totals.append(chosen.diagnostics["information_nats"] - truly)
    assert abs(np.mean(totals)) < 0.02  # and hardly wrong about what they gain


def twins(features: Features) -> Features:
    """The pool twice over: every pair has a copy that asks the same."""
    assert features.reward_N2K is not None
    again = {
        name: np.char.add(getattr(features, name), "-copy")
        for name in ("pair_id_N", "prompt_ids_N2", "response_ids_N2")
    }
    second = dataclasses.replace(features, **again)
    fields = {
        name: np.concatenate([getattr(features, name), getattr(second, name)])
        for name in ("pair_id_N", "prompt_ids_N2", "response_ids_N2", "length_N2", "reward_N2K")
    }
    return dataclasses.replace(features, **fields)


def test_batchbald_does_not_ask_twice_what_bald_does() -> None:
    features = random_features(12, SAMPLES, seed=4)
    assert features.reward_N2K is not None
    pool = twins(dataclasses.replace(features, reward_N2K=8 * features.reward_N2K))  # labels all but certain given k

    def different(rule: Acquisition) -> int:
        chosen = choose(rule, pool, 4, np.random.default_rng(0)).indices_B
        return len({int(i) % 12 for i in chosen})

    assert different(BALD(BALDConfig(posterior="samples"))) == 2
    assert different(BatchBALD(BatchBALDConfig(posterior="samples"))) == 4


def test_when_the_draws_are_told_apart_the_rest_is_a_draw_and_nothing_is_nan() -> None:
    features = random_features(40, SAMPLES, seed=3)
    assert features.reward_N2K is not None
    features = dataclasses.replace(features, reward_N2K=1e4 * features.reward_N2K)  # every label certain given k
    rule = BatchBALD(BatchBALDConfig(posterior="samples", exact_picks=3, configurations=32))
    chosen = [choose(rule, features, 35, np.random.default_rng(seed)) for seed in (0, 1)]
    for c in chosen:
        informed = int(c.diagnostics["informed_picks"])
        assert 4 <= informed < 12  # 10 draws need four labels at least
        assert np.isfinite(c.scores_B).all() and (c.scores_B[informed:] == 0).all()
        assert c.diagnostics["information_nats"] <= c.diagnostics["most_information_nats"] + 0.2
    assert set(chosen[0].indices_B[-20:].tolist()) != set(chosen[1].indices_B[-20:].tolist())


@given(st.integers(0, 10_000))
def test_gains_never_rise(seed: int) -> None:
    rule = BatchBALD(BatchBALDConfig(posterior="samples", exact_picks=10))
    chosen = choose(rule, random_features(20, SAMPLES, seed=seed), 10, np.random.default_rng(seed))
    assert (np.diff(chosen.scores_B) <= 1e-12).all()
    assert chosen.diagnostics["information_nats"] <= math.log(10) + 1e-12
