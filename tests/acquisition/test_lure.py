"""Draws with known probabilities, by enumeration of everything that chance could draw from a tiny pool."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from itertools import permutations
from typing import Any

import numpy as np
import pytest

from duelist.acquisition.base import RULES_WITH_GAINS, Acquisition, Gains, choose, gains_of
from duelist.acquisition.control import drawn_by_gain
from duelist.acquisition.lure import (
    LureConfig,
    draw,
    propensities,
    proposal,
)
from duelist.acquisition.options import AcquisitionOptions
from duelist.choice_models.levelled_risk import effective_sample_size, lure_weights
from duelist.choice_models.prediction_powered import PoolSample, coefficients, tuned_omegas
from duelist.errors import DuelistError, NumericalError, RecipeError
from duelist.recipe.component import Component
from duelist.recipe.components import COMPONENTS
from duelist.testing import random_features

IDS = ["a", "b", "c", "d", "e"]
GAIN_N = np.array([3.0, -1.0, 0.5, 0.5, 8.0])
LOSS_N = np.array([0.2, 1.4, 0.7, 3.0, 0.1])


def every_draw(share_N: np.ndarray, m: int, uniform_first: int) -> Iterator[tuple[np.ndarray, np.ndarray, float]]:
    """Every ordered draw of m pairs, its propensities by the definition, and its probability."""
    for order in permutations(range(len(share_N)), m):
        q_M = []
        for i, pair in enumerate(order):
            left = [j for j in range(len(share_N)) if j not in order[:i]]
            q_M.append(1 / len(left) if i < uniform_first else share_N[pair] / sum(share_N[j] for j in left))
        yield np.array(order), np.array(q_M), float(np.prod(q_M))


@pytest.mark.parametrize("uniform_first", [0, 1, 3])
@pytest.mark.parametrize("m", [1, 3, 5])
@pytest.mark.parametrize("uniform", [0.05, 0.5, 1.0])
def test_the_weighted_loss_is_unbiased(m: int, uniform: float, uniform_first: int) -> None:
    """The mean over all draws of (1/M) Σ v ℓ is the pool's mean loss; with equal weights it is not."""
    first = min(m, uniform_first)
    share_N = proposal(GAIN_N, LureConfig(uniform=uniform))
    assert share_N.sum() == pytest.approx(1) and (share_N >= uniform / 5 - 1e-15).all()
    total = weighted = plain = weights = 0.0
    for order_M, q_M, probability in every_draw(share_N, m, first):
        np.testing.assert_allclose(propensities(share_N, order_M, first), q_M, rtol=1e-12)
        v_M = lure_weights(q_M, 5 - np.arange(m))
        total += probability
        weights += probability * v_M.mean()
        weighted += probability * (v_M * LOSS_N[order_M]).mean()
        plain += probability * LOSS_N[order_M].mean()
    assert total == pytest.approx(1)
    assert weights == pytest.approx(1, abs=1e-12)
    assert weighted == pytest.approx(LOSS_N.mean(), abs=1e-12)
    biased = uniform < 1 and first < m < 5
    assert (abs(plain - LOSS_N.mean()) > 0.01) == biased


def test_a_fixed_pool_is_one_stratum_of_changing_proposals() -> None:
    """The second round's shares may depend on the first round's draws and labels; the estimate stays unbiased."""
    share_N = proposal(GAIN_N, LureConfig())
    total = 0.0
    for first_M, q_M, probability in every_draw(share_N, 2, 1):
        left = np.array([i for i in range(5) if i not in first_M])
        learned_N = proposal(GAIN_N[left] * LOSS_N[first_M].sum() - left, LureConfig(uniform=0.3))
        for second_M, p_M, chance in every_draw(learned_N, 2, 0):
            v_M = lure_weights(np.concatenate([q_M, p_M]), np.array([5, 4, 3, 2]))
            total += probability * chance * (v_M * LOSS_N[np.concatenate([first_M, left[second_M]])]).mean()
    assert total == pytest.approx(LOSS_N.mean(), abs=1e-12)


def test_the_draws_have_these_probabilities() -> None:
    share_N = proposal(GAIN_N, LureConfig(uniform=0.3))
    expected = {tuple(order.tolist()): p for order, _, p in every_draw(share_N, 3, 1)}
    n = 1_000
    rng = np.random.default_rng(0)
    draws = [draw(share_N, IDS, 3, 1, rng) for _ in range(n)]
    assert all(drawn.left_B.tolist() == [5, 4, 3] for drawn in draws)
    counts = Counter(tuple(drawn.indices_B.tolist()) for drawn in draws)
    statistic = sum((counts[o] - n * p) ** 2 / (n * p) for o, p in expected.items())
    assert statistic < 98  # the 0.999 quantile of χ² with 59 degrees of freedom


def test_the_order_of_the_pool_does_not_matter_and_the_slice_is_blind_to_the_gains() -> None:
    rng = np.random.default_rng(5)
    gain_N, ids = rng.gamma(0.5, size=40), [f"pair{i}" for i in range(40)]
    for seed in range(20):
        batch = drawn_by_gain(Gains(gain_N, "u"), ids, 12, 4, LureConfig(), np.random.default_rng(seed))
        turned = drawn_by_gain(Gains(gain_N[::-1], "u"), ids[::-1], 12, 4, LureConfig(), np.random.default_rng(seed))
        blind = drawn_by_gain(Gains(-gain_N, "u"), ids, 12, 4, LureConfig(), np.random.default_rng(seed))
        picked = batch.selection.indices_B
        assert [ids[i] for i in picked] == [ids[::-1][i] for i in turned.selection.indices_B]
        assert set(picked[batch.control_B]) == set(blind.selection.indices_B[blind.control_B])
        assert batch.control_B.sum() == 4 and len(set(picked.tolist())) == 12
        assert (batch.selection.scores_B == np.where(batch.control_B, 0, gain_N[picked])).all()
        drawn: Any = batch.drawn
        assert sorted(drawn.left_B.tolist(), reverse=True) == list(range(40, 28, -1))
        assert (drawn.left_B > 36).tolist() == batch.control_B.tolist()  # the first four draws
        assert drawn.propensity_B[batch.control_B] == pytest.approx(1 / drawn.left_B[batch.control_B])
        size = batch.selection.diagnostics["effective_sample_size"]
        order = np.argsort(-drawn.left_B)
        v_M = lure_weights(drawn.propensity_B[order], drawn.left_B[order])
        assert size == pytest.approx(v_M.sum() ** 2 / (v_M**2).sum()) and 4 < size <= 12
        assert batch.columns()[0] == [None] * 12


def test_equal_gains_and_the_whole_pool_are_a_uniform_draw() -> None:
    assert proposal(np.full(4, 2.0), LureConfig()).tolist() == [0.25] * 4
    assert proposal(np.array([1.0, 1.0 + 1e-7, 1.0]), LureConfig()).tolist() == [1 / 3] * 3  # rounding is no gain
    assert lure_weights(1.0 / (9 - np.arange(4)), 9 - np.arange(4)) == pytest.approx([1.0] * 4)
    whole = draw(proposal(GAIN_N, LureConfig()), IDS, 5, 0, np.random.default_rng(1))
    assert lure_weights(whole.propensity_B, whole.left_B) == pytest.approx([1.0] * 5)
    assert effective_sample_size(np.ones(7)) == 7 and effective_sample_size(np.empty(0)) == 0
    assert effective_sample_size(np.array([3.0, 0.0])) == 1
    wide = proposal(np.array([0.0, 1e6]), LureConfig(temperature=1e-3, uniform=0.01))
    assert wide == pytest.approx([0.005, 0.995])


def test_draws_of_two_pools_are_refused() -> None:
    with pytest.raises(DuelistError, match="one pair less each time"):
        lure_weights(np.array([0.2, 0.3]), np.array([5, 9]))


def test_the_judge_is_corrected_for_draws_by_gain() -> None:
    """Given any fixed ω, the prediction-powered loss is people's over the pool, for draws with known probabilities."""
    judge_N2 = np.random.default_rng(0).random((5, 2)) * [[1], [1], [0], [1], [1]]  # one pair without a verdict
    people_N2 = np.stack([LOSS_N, LOSS_N[::-1]], axis=1)
    share_N = proposal(GAIN_N, LureConfig(uniform=0.2))
    total_N2 = np.zeros((5, 2))
    for order_M, q_M, probability in every_draw(share_N, 3, 0):
        left = [i for i in range(5) if i not in order_M]
        for further in left:  # R is one of the two that are left
            nothing = np.zeros(3)
            sample = PoolSample(
                5,
                nothing > 0,
                nothing == 0,
                people_N2[order_M],
                judge_N2[order_M],
                nothing,
                nothing.astype(int),
                judge_N2[[further]],
                lure_weights(q_M, np.array([5, 4, 3])),
            )
            assert tuned_omegas([sample])[0].tolist() == [0, 0, 0]  # no label may tune its own ω
            found = coefficients(sample, np.full(3, 0.7))
            assert (found.corrected_P >= 0).all()
            total_N2[order_M] += probability / 2 * found.asked_P2 / 3
            total_N2[further] += probability / 2 * found.further_R2[0] / 3
    assert total_N2.sum(axis=0) == pytest.approx(people_N2.mean(axis=0), abs=1e-12)


@pytest.mark.parametrize("name", RULES_WITH_GAINS)
def test_the_gain_of_a_pair_is_that_of_its_pick_alone(name: str) -> None:
    """A rule's first pick has the largest gain, and its score there; of a pool of one pair, each pair is the first."""
    settings = {"margin": {"corpus": "largest"}, "policy_gap": {"target": "drawn"}}
    greedy = {"d_opt", "pa_d_opt", "xtx"}
    told = settings.get(name, {}) | ({"optimizer": "greedy", "certificate": False} if name in greedy else {})
    rule = Component.of(Acquisition, {"name": name, **told}).build()
    needs = AcquisitionOptions(lure=LureConfig()).needs(rule)
    pool = random_features(30, needs, seed=3)
    found = gains_of(rule, pool, np.random.default_rng(0))
    first = choose(rule, pool, 1, np.random.default_rng(0))
    assert found.gain_N.argmax() == first.indices_B[0]
    score = np.log1p(first.scores_B[0]) if name in greedy else first.scores_B[0]
    assert found.gain_N.max() == pytest.approx(score, rel=1e-9)
    order = choose(rule, pool, 2, np.random.default_rng(0)).indices_B  # the next pick's gain is less, or as much
    assert found.gain_N[order[1]] <= found.gain_N[order[0]]
    assert isinstance(found.unit, str) and found.unit


def test_rules_without_a_gain_are_refused() -> None:
    assert set(RULES_WITH_GAINS) <= COMPONENTS["acquisition"].keys()
    for name in COMPONENTS["acquisition"].keys() - set(RULES_WITH_GAINS):
        rule = Component.of(Acquisition, name).build()
        with pytest.raises(RecipeError, match="a gain for each pair by itself"):
            AcquisitionOptions(lure=LureConfig()).needs(rule)
    for told in ({"name": "margin", "corpus": "random"}, {"name": "v_opt", "criterion": "worst"}):
        rule = Component.of(Acquisition, told).build()
        with pytest.raises(RecipeError, match="with these settings"):
            gains_of(rule, random_features(5, rule.needs), np.random.default_rng(0))


def test_a_broken_gain_is_an_error() -> None:
    class Broken(Acquisition):
        values = np.array([1.0, np.nan, 2.0])

        @property
        def needs(self) -> frozenset[str]:
            return frozenset()

        def select(self, features: Any, budget: int, rng: np.random.Generator) -> Any:
            raise NotImplementedError

        def gains(self, features: Any, rng: np.random.Generator) -> Gains:
            return Gains(self.values, "nats")

    pool, rng = random_features(3, frozenset()), np.random.default_rng(0)
    with pytest.raises(NumericalError, match="a finite gain"):
        gains_of(Broken(), pool, rng)
    Broken.values = np.zeros(2)
    with pytest.raises(DuelistError, match="one gain a pair"):
        gains_of(Broken(), pool, rng)
