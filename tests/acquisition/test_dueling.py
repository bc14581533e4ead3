"""Dueling bandits against their definitions: bounds by brute force, draws by the law of the pair."""

from __future__ import annotations

import dataclasses
from collections import Counter
from itertools import product

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import tiers
from duelist.acquisition.base import Acquisition, choose
from duelist.acquisition.dueling import BoundsConfig, DeltaUCB, InfoMax, InfoMaxConfig, MaxMinLCB
from duelist.acquisition.thompson import DoubleReverseThompson, Thompson, ThompsonConfig
from duelist.recipe.component import Component
from duelist.testing import check_acquisition, random_features
from duelist.types import Features

SAMPLES = frozenset({"reward_N2K"})
EVERYTHING = frozenset({"reward_N2K", "margin_N", "gradient_ND", "embedding_ND", "past"})
RULES = ["thompson", "drts", "delta_ucb", "max_min_lcb", "info_max"]


@pytest.mark.parametrize("name", RULES)
@pytest.mark.parametrize("settings", [{}, {"posterior": "samples"}, {"features": "embedding", "lambda": 0.1}])
def test_they_conform(name: str, settings: dict[str, object]) -> None:
    check_acquisition(Component.of(Acquisition, {"name": name, **settings}).build())


def prompt_of(features: Features, i: int) -> tuple[str, ...]:
    return tuple(sorted(features.prompt_ids_N2[i].tolist()))


def moments(features: Features, posterior: str) -> tuple[np.ndarray, np.ndarray]:
    """Means and standard deviations of margins, as they are written; λ = mean |φ|²."""
    if posterior == "samples":
        assert features.reward_N2K is not None
        margins = features.reward_N2K[:, 0] - features.reward_N2K[:, 1]
        return margins.mean(axis=1), margins.std(axis=1)
    phi, past = features.gradient_ND, features.past
    assert phi is not None and past is not None and past.margin_N is not None and past.gradient_ND is not None
    p = 1 / (1 + np.exp(-past.margin_N))
    precision = np.mean((phi**2).sum(axis=1)) * np.eye(phi.shape[1])
    precision += (past.gradient_ND.T * p * (1 - p)) @ past.gradient_ND
    assert features.margin_N is not None
    return features.margin_N, np.sqrt(np.einsum("nd,de,ne->n", phi, np.linalg.inv(precision), phi))


def in_passes(features: Features, score: np.ndarray, budget: int) -> list[int]:
    """Each prompt's best pair, the best of them first; then each one's second best; and so on."""
    left = set(range(features.n))
    picked: list[int] = []
    while len(picked) < budget:
        of_prompt: dict[tuple[str, ...], int] = {}
        for i in left:
            best = of_prompt.get(prompt_of(features, i))
            if best is None or score[i] > score[best]:
                of_prompt[prompt_of(features, i)] = i
        one_pass = sorted(of_prompt.values(), key=lambda i: -score[i])
        picked += one_pass
        left -= set(one_pass)
    return picked[:budget]


@pytest.mark.parametrize("posterior", ["samples", "laplace"])
@pytest.mark.parametrize("cross_prompt", [False, True])
@pytest.mark.parametrize("priced", [False, True])
def test_delta_ucb_and_info_max_equal_brute_force(posterior: str, cross_prompt: bool, priced: bool) -> None:
    needs = EVERYTHING | ({"cost_N"} if priced else frozenset())
    features = random_features(25, needs, seed=3, prompts=5, cross_prompt=cross_prompt)
    mean, deviation = moments(features, posterior)
    cost = features.cost_N if features.cost_N is not None else np.ones(25)
    bounds = BoundsConfig.model_validate({"posterior": posterior, "beta": 1.7})
    # The largest upper bound over ordered pairs, as the paper has it.
    upper = np.maximum(mean + 1.7 * deviation, -mean + 1.7 * deviation)
    info = InfoMaxConfig.model_validate({"posterior": posterior})
    for rule, score in ((DeltaUCB(bounds), upper / cost), (InfoMax(info), deviation / cost)):
        for budget in (1, 5, 12, 25):
            chosen = choose(rule, features, budget, np.random.default_rng(0))
            assert chosen.indices_B.tolist() == in_passes(features, score, budget)
            np.testing.assert_allclose(chosen.scores_B, score[chosen.indices_B], rtol=1e-9)


# MaxMinLCB


def max_min_lcb(features: Features, rows: list[int], mean: np.ndarray, width: np.ndarray, left: set[int]) -> int:
    """The pair of one prompt, from its two bounds for every ordered pair of responses that the pool has."""
    lower: dict[str, dict[str, tuple[float, int]]] = {}
    beaten: set[str] = set()
    for i in rows:
        a, b = (str(r) for r in features.response_ids_N2[i])
        for y, rival, m in ((a, b, mean[i]), (b, a, -mean[i])):
            if m + width[i] <= 0:
                beaten.add(y)
            if i in left:
                lower.setdefault(y, {})[rival] = (float(m - width[i]), i)
    plausible = {
        y: {rival: v for rival, v in rivals.items() if rival not in beaten}
        for y, rivals in lower.items()
        if y not in beaten
    }
    plausible = {y: rivals for y, rivals in plausible.items() if rivals} or lower
    answers = {y: min(rivals.values()) for y, rivals in plausible.items()}
    return max(answers.values())[1]


@given(st.integers(0, 10_000), st.floats(0, 3), st.sampled_from(["samples", "laplace"]), st.booleans())
def test_max_min_lcb_equals_brute_force(seed: int, beta: float, posterior: str, cross_prompt: bool) -> None:
    features = random_features(20, EVERYTHING, seed=seed, prompts=4, cross_prompt=cross_prompt)
    mean, deviation = moments(features, posterior)
    config = BoundsConfig.model_validate({"posterior": posterior, "beta": beta})
    chosen = choose(MaxMinLCB(config), features, 20, np.random.default_rng(seed)).indices_B.tolist()
    by_prompt: dict[tuple[str, ...], list[int]] = {}
    for i in chosen:
        by_prompt.setdefault(prompt_of(features, i), []).append(i)
    for picked in by_prompt.values():
        left = set(picked)
        for i in picked:
            assert i == max_min_lcb(features, picked, mean, beta * deviation, left)
            left.remove(i)
    first_round = [prompt_of(features, i) for i in chosen[: len(by_prompt)]]
    assert len(set(first_round)) == len(by_prompt)  # one pair of each prompt before any second


def test_max_min_lcb_plays_the_known_best_against_its_nearest_rival() -> None:
    features = random_features(6, SAMPLES, prompts=1, past=0)  # all pairs of four responses
    reward = dict(zip(np.unique(features.response_ids_N2), [3.0, 1.0, 2.5, 0.0], strict=True))
    values = np.array([[reward[r] for r in row] for row in features.response_ids_N2])[:, :, None]
    pool = dataclasses.replace(features, reward_N2K=np.repeat(values, 2, axis=2) + np.array([0.0, 1e-3]))
    chosen = choose(MaxMinLCB(BoundsConfig(posterior="samples")), pool, 1, np.random.default_rng(0))
    assert set(values[chosen.indices_B[0], :, 0]) == {3.0, 2.5}


# Thompson sampling


def law(features: Features, reverse: bool) -> dict[int, float]:
    """The probability of each pair of a one-prompt pool with all its pairs: every (k_1, k_2), redraws without end."""
    assert features.reward_N2K is not None
    pair = {frozenset(map(str, row)): i for i, row in enumerate(features.response_ids_N2)}
    reward = {
        str(features.response_ids_N2[i, side]): features.reward_N2K[i, side]
        for i, side in product(range(features.n), (0, 1))
    }
    k = features.reward_N2K.shape[2]
    best = [max(reward, key=lambda y: reward[y][j]) for j in range(k)]
    second = [min(reward, key=lambda y: reward[y][j]) for j in range(k)] if reverse else best
    chance: Counter[int] = Counter()
    for first in best:
        others = [y for y in second if y != first]
        for y in others or [y for y in reward if y != first]:
            chance[pair[frozenset({first, y})]] += 1 / k / len(others or [y for y in reward if y != first])
    return dict(chance)


@pytest.mark.parametrize(("rule", "reverse"), [(Thompson, False), (DoubleReverseThompson, True)])
@pytest.mark.parametrize("seed", tiers.first(1, [0, 1]))
def test_thompson_draws_pairs_by_their_law(
    rule: type[Thompson] | type[DoubleReverseThompson], reverse: bool, seed: int
) -> None:
    features = random_features(10, SAMPLES, prompts=1, past=0, seed=seed)
    expected = law(features, reverse)
    draws = 1500
    sampler = rule(ThompsonConfig(posterior="samples", redraws=200))
    counts = Counter(int(choose(sampler, features, 1, np.random.default_rng(s)).indices_B[0]) for s in range(draws))
    assert set(counts) <= set(expected)
    chi_square = sum((counts[i] - draws * p) ** 2 / (draws * p) for i, p in expected.items())
    assert chi_square < len(expected) - 1 + 5 * np.sqrt(2 * len(expected))


def complete(rewards: list[float], k: int = 1) -> Features:
    """One prompt with all pairs of responses of these rewards, the same in K draws."""
    n = len(rewards) * (len(rewards) - 1) // 2
    features = random_features(n, SAMPLES, prompts=1, past=0)
    names = np.unique(features.response_ids_N2)
    reward = dict(zip(names.tolist(), rewards, strict=True))
    values = np.array([[reward[r] for r in row] for row in features.response_ids_N2.tolist()])
    return dataclasses.replace(features, reward_N2K=np.repeat(values[:, :, None], k, axis=2))


def test_without_doubt_reversed_thompson_takes_best_and_worst_in_turn() -> None:
    rewards = [0.0, 7.0, 3.0, 1.5, 4.5]
    features = complete(rewards)
    assert features.reward_N2K is not None
    chosen = choose(DoubleReverseThompson(ThompsonConfig(posterior="samples")), features, 10, np.random.default_rng(0))
    # The best against the worst, then the worst but one, ...; then the second best, and so on.
    ordered = sorted(rewards)
    expected = [{x, y} for i, x in enumerate(ordered[::-1]) for y in ordered if y < ordered[len(rewards) - 1 - i]]
    assert [set(features.reward_N2K[i, :, 0]) for i in chosen.indices_B] == expected
    np.testing.assert_allclose(chosen.scores_B, [max(e) - min(e) for e in expected])


def test_without_doubt_thompson_draws_the_rival_uniformly() -> None:
    features = complete([0.0, 7.0, 3.0, 1.5, 4.5], k=3)
    assert features.reward_N2K is not None
    rule = Thompson(ThompsonConfig(posterior="samples", redraws=3))
    counts: Counter[float] = Counter()
    for seed in range(800):
        pair = set(features.reward_N2K[choose(rule, features, 1, np.random.default_rng(seed)).indices_B[0], :, 0])
        assert 7.0 in pair
        counts[min(pair)] += 1
    assert sum((c - 200) ** 2 / 200 for c in counts.values()) < 21  # 3 degrees of freedom: p < 1e-4


@pytest.mark.parametrize("rule", [Thompson, DoubleReverseThompson])
@pytest.mark.parametrize("posterior", ["samples", "laplace"])
def test_each_prompt_has_its_turn_before_any_has_a_second(
    rule: type[Thompson] | type[DoubleReverseThompson], posterior: str
) -> None:
    features = random_features(40, EVERYTHING, prompts=8)
    prompts = len({prompt_of(features, i) for i in range(40)})
    config = ThompsonConfig.model_validate({"posterior": posterior})
    chosen = choose(rule(config), features, 40, np.random.default_rng(0))
    assert len({prompt_of(features, int(i)) for i in chosen.indices_B[:prompts]}) == prompts
    few = [choose(rule(config), features, 2, np.random.default_rng(s)).indices_B for s in range(40)]
    assert len({prompt_of(features, int(i)) for pair in few for i in pair}) == prompts  # prompts by chance


@pytest.mark.full
def test_laplace_draws_agree_with_an_ensemble_of_the_same_spread() -> None:
    """The same posterior as draws of rewards and as Laplace's approximation gives pairs by the same law."""
    features = random_features(10, EVERYTHING, prompts=1, past=0, seed=2)
    assert features.gradient_ND is not None and features.margin_N is not None
    phi = features.gradient_ND
    theta = np.random.default_rng(0).normal(size=(phi.shape[1], 4000)) / np.sqrt(np.mean((phi**2).sum(axis=1)))
    # Rewards relative to the first response: the pool has all pairs, so every response has a margin over it.
    base = str(features.response_ids_N2[0, 0])
    reward = {base: np.zeros(4000)}
    for i, (a, b) in enumerate(features.response_ids_N2.tolist()):
        if base in (a, b):
            draw = features.margin_N[i] + phi[i] @ theta
            reward[b if a == base else a] = -draw if a == base else draw
    rewards = np.array([[reward[r] for r in row] for row in features.response_ids_N2.tolist()])
    ensemble = dataclasses.replace(features, reward_N2K=rewards)
    for rule in (Thompson, DoubleReverseThompson):
        tables = []
        for pool, posterior in ((ensemble, "samples"), (features, "laplace")):
            config = ThompsonConfig.model_validate({"posterior": posterior, "draws": 200})
            picked = [int(choose(rule(config), pool, 1, np.random.default_rng(s)).indices_B[0]) for s in range(500)]
            tables.append(np.bincount(picked, minlength=10))
        first, second = tables
        some = first + second > 0
        chi_square = ((first - second)[some] ** 2 / (first + second)[some]).sum()
        assert chi_square < 33.7  # 9 degrees of freedom: p < 1e-4
