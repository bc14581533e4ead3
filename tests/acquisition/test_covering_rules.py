"""k-center and coreset: against loops over their definitions; neither depends on which response is called a."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from duelist.acquisition.base import Acquisition
from duelist.acquisition.coreset import Coreset, CoresetConfig, cluster, sensitivity_bounds
from duelist.acquisition.k_center import KCenter, KCenterConfig
from duelist.testing import check_acquisition, random_features

RULES = [KCenter(KCenterConfig()), KCenter(KCenterConfig(features="embedding")), Coreset(CoresetConfig()),
         Coreset(CoresetConfig(features="embedding", radius_relative=False, clusters=2))]  # fmt: skip


@pytest.mark.parametrize("rule", RULES)
def test_conformance(rule: Acquisition) -> None:
    check_acquisition(rule)


@pytest.mark.parametrize("rule", RULES)
def test_calling_a_response_b_changes_nothing(rule: KCenter | Coreset) -> None:
    features = random_features(40, rule.needs)
    name = f"{rule.config.features}_ND"
    sign_N = np.where(np.random.default_rng(1).random(40) < 0.5, -1.0, 1.0)
    swapped = dataclasses.replace(features, **{name: getattr(features, name) * sign_N[:, None]})
    first, second = (rule.select(f, 15, np.random.default_rng(2)) for f in (features, swapped))
    assert first.indices_B.tolist() == second.indices_B.tolist()
    np.testing.assert_array_equal(first.scores_B, second.scores_B)


def distance(x: np.ndarray, y: np.ndarray) -> float:
    return float(min(np.linalg.norm(x - y), np.linalg.norm(x + y)))


@given(n=st.integers(2, 20), past=st.integers(0, 80), seed=st.integers(0, 10**6), data=st.data())
def test_k_center_takes_the_farthest(n: int, past: int, seed: int, data: st.DataObject) -> None:
    rule = KCenter(KCenterConfig())
    features = random_features(n, rule.needs, seed=seed, past=past)
    assert features.gradient_ND is not None and features.past is not None and features.past.gradient_ND is not None
    budget = data.draw(st.integers(1, n))
    found = rule.select(features, budget, np.random.default_rng(0))
    centres = list(features.past.gradient_ND)
    left = list(range(n))
    for b, pick in enumerate(found.indices_B.tolist()):
        if centres:
            nearest = [min(distance(features.gradient_ND[i], c) for c in centres) for i in left]
            # Squares are compared, and equal where rounding alone tells them apart; the first among equals is taken.
            equal = 1e-12 * float((features.gradient_ND**2).sum(axis=1).max())
            assert pick == left[int(np.argmax(np.square(nearest) >= max(nearest) ** 2 - equal))]
            assert found.scores_B[b] == pytest.approx(max(nearest))
        else:
            assert pick == 0  # the pool comes in random order
        centres.append(features.gradient_ND[pick])
        left.remove(pick)
    radius = max((min(distance(features.gradient_ND[i], c) for c in centres) for i in left), default=0.0)
    assert found.diagnostics["covering_radius"] == pytest.approx(radius, abs=1e-9)


def test_the_same_comparison_turned_round_is_not_asked_twice() -> None:
    rule = KCenter(KCenterConfig())
    features = random_features(4, rule.needs, past=0)
    rows = np.array([[9.0, 0.0], [-9.0, 0.0], [0.0, 1.0], [0.0, 0.0]])
    past = dataclasses.replace(features.past, gradient_ND=np.empty((0, 2)))  # type: ignore[type-var]
    found = rule.select(dataclasses.replace(features, gradient_ND=rows, past=past), 3, np.random.default_rng(0))
    assert found.indices_B.tolist() == [0, 2, 3]


def test_sensitivities_are_those_of_the_lemma() -> None:
    rng = np.random.default_rng(3)
    points_ND = rng.normal(size=(25, 3)) * 0.4
    cluster_N = rng.integers(4, size=25)
    cluster_N[cluster_N == 3] = 2
    cluster_N[7] = 3  # a cluster of one: without it, none is left
    expected = []
    for n in range(25):
        total = 1.0
        for i in range(4):
            others = [points_ND[j] for j in range(25) if cluster_N[j] == i and j != n]
            if others:
                total += len(others) * np.exp(-1.7 * np.linalg.norm(np.mean(others, axis=0) - points_ND[n]))
        expected.append(np.ceil(25 / total))
    assert sensitivity_bounds(points_ND, cluster_N, 1.7).tolist() == expected


def test_clusters_that_stand_apart_are_found() -> None:
    rng = np.random.default_rng(4)
    points_ND = np.repeat(np.eye(3) * 50, 20, axis=0) + rng.normal(size=(60, 3))
    found = cluster(points_ND, 3, rng).reshape(3, 20)
    assert (found == found[:, :1]).all() and len(set(found[:, 0].tolist())) == 3


def test_the_first_draw_has_the_sensitivities_for_odds() -> None:
    rule = Coreset(CoresetConfig(clusters=1))
    features = random_features(6, rule.needs)
    rows = np.array([[9.0, 9.0], [0.1, 0.0], [0.1, 0.01], [0.1, 0.02], [3.0, 0.0], [0.1, 0.03]])
    features = dataclasses.replace(features, gradient_ND=rows)
    counts, odds = np.zeros(6), np.zeros(6)
    for seed in range(4000):
        found = rule.select(features, 6, np.random.default_rng(seed))
        assert sorted(found.indices_B.tolist()) == list(range(6))  # without replacement
        counts[found.indices_B[0]] += 1
        odds[found.indices_B] = found.scores_B
    assert odds.sum() == pytest.approx(1) and odds[0] > 2 * odds[1]
    np.testing.assert_allclose(counts / 4000, odds, atol=4 * np.sqrt(0.25 / 4000))
