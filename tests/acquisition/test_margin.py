"""The margin family against its definition, spelled out pair by pair, and its invariants."""

from __future__ import annotations

import dataclasses
import math
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from duelist.acquisition.aplp import APLP, APLPConfig
from duelist.acquisition.base import Acquisition, choose
from duelist.acquisition.margin import Choice, Entropy, Margin, MarginConfig, MaxDiff, label_entropy
from duelist.recipe.component import Component
from duelist.testing import check_acquisition, random_features
from duelist.types import Features

LEVELS: list[Choice | None] = [None, "smallest", "largest", "random"]


def picks(rule: Acquisition, features: Features, budget: int, seed: int = 0) -> list[int]:
    return choose(rule, features, budget, np.random.default_rng(seed)).indices_B.tolist()


@pytest.mark.parametrize("instance", LEVELS)
@pytest.mark.parametrize("corpus", LEVELS[1:])
@pytest.mark.parametrize("length_normalized", [False, True])
def test_every_combination_conforms(instance: Choice | None, corpus: Choice, length_normalized: bool) -> None:
    check_acquisition(Margin(MarginConfig(instance=instance, corpus=corpus, length_normalized=length_normalized)))


@pytest.mark.parametrize(
    "rule", [Entropy(), MaxDiff(), APLP(APLPConfig()), APLP(APLPConfig(first="certainty", oversampling=1.5))]
)
def test_the_others_conform(rule: Acquisition) -> None:
    check_acquisition(rule)


@pytest.mark.parametrize("name", ["margin", "entropy", "maxdiff", "aplp"])
def test_recipes_can_name_them(name: str) -> None:
    check_acquisition(Component.of(Acquisition, name).build())


def brute_force(features: Features, size: list[float], instance: str | None, corpus: str, budget: int) -> list[int]:
    """Pick by pick: of every prompt's remaining pairs the instance level's, then of those the corpus level's."""
    sign = {"smallest": 1.0, "largest": -1.0}
    left = list(range(features.n))
    picked: list[int] = []
    while len(picked) < budget:
        if instance is None:
            competing = left
        else:
            of_prompt: dict[tuple[str, ...], list[int]] = {}
            for i in left:
                of_prompt.setdefault(tuple(sorted(features.prompt_ids_N2[i].tolist())), []).append(i)
            competing = [min(of, key=lambda i: sign[instance] * size[i]) for of in of_prompt.values()]
        one_pass = sorted(competing, key=lambda i: sign[corpus] * size[i])
        picked += one_pass
        left = [i for i in left if i not in set(one_pass)]
    return picked[:budget]


@pytest.mark.parametrize("instance", [None, "smallest", "largest"])
@pytest.mark.parametrize("corpus", ["smallest", "largest"])
@pytest.mark.parametrize("length_normalized", [False, True])
@pytest.mark.parametrize("cross_prompt", [False, True])
def test_equals_brute_force(
    instance: Choice | None, corpus: Choice, length_normalized: bool, cross_prompt: bool
) -> None:
    needs = frozenset({"margin_N", "log_ratio_N2"})
    features = random_features(25, needs, seed=3, prompts=6, cross_prompt=cross_prompt)
    assert features.margin_N is not None and features.log_ratio_N2 is not None
    size = [abs(m) for m in features.margin_N.tolist()]
    if length_normalized:
        rows = zip(features.log_ratio_N2.tolist(), features.length_N2.tolist(), strict=True)
        size = [abs(ratio[0] / length[0] - ratio[1] / length[1]) for ratio, length in rows]
    rule = Margin(MarginConfig(instance=instance, corpus=corpus, length_normalized=length_normalized))
    for budget in (1, 4, 11, 25):  # past the number of prompts: second passes
        assert picks(rule, features, budget) == brute_force(features, size, instance, corpus, budget)


def test_random_at_the_instance_level_is_uniform_in_the_prompt() -> None:
    features = random_features(10, frozenset({"margin_N"}), prompts=1, past=0)
    rule = Margin(MarginConfig(instance="random", corpus="largest"))
    counts = np.bincount([picks(rule, features, 1, seed)[0] for seed in range(2000)], minlength=10)
    assert ((counts - 200.0) ** 2 / 200.0).sum() < 33.7  # chi-square, 9 degrees of freedom: p < 1e-4


def test_random_at_the_corpus_level_takes_prompts_by_chance_and_pairs_by_margin() -> None:
    features = random_features(24, frozenset({"margin_N"}), prompts=4)
    assert features.margin_N is not None
    rule = Margin(MarginConfig(instance="smallest", corpus="random"))
    smallest = set()
    for prompt in np.unique(features.prompt_ids_N2[:, 0]):
        rows = np.flatnonzero(features.prompt_ids_N2[:, 0] == prompt)
        smallest.add(int(rows[np.abs(features.margin_N[rows]).argmin()]))
    seen = [tuple(picks(rule, features, 2, seed)) for seed in range(60)]
    assert {i for pair in seen for i in pair} == smallest
    assert len(set(seen)) > 6


def entropy_of(rho: float) -> float:
    p = 1.0 / (1.0 + math.exp(-rho))
    return -p * math.log(p) - (1 - p) * math.log(1 - p)


def test_label_entropy() -> None:
    rho = np.array([-20.0, -3.0, -0.1, 0.0, 1e-9, 0.5, 4.0, 20.0])
    np.testing.assert_allclose(label_entropy(rho), [entropy_of(r) for r in rho.tolist()], rtol=1e-7)
    # Beyond what 1 − σ(ρ) can say, H = (ρ + 1)·e^{−ρ} to the first order.
    np.testing.assert_allclose(label_entropy(np.array([100.0, 600.0])), [101 * np.exp(-100), 601 * np.exp(-600)])
    assert label_entropy(np.array([1e5]))[0] == 0.0
    assert abs(label_entropy(np.zeros(1))[0] - math.log(2)) < 1e-15


@given(st.lists(st.floats(-1e3, 1e3), min_size=2, max_size=30, unique_by=abs), st.integers(0, 9))
def test_entropy_is_smallest_and_maxdiff_is_largest(margins: list[float], seed: int) -> None:
    features = dataclasses.replace(
        random_features(len(margins), frozenset(), past=0), margin_N=np.array(margins, np.float64)
    )
    budget = max(1, len(margins) // 2)
    small, large = (Margin(MarginConfig(corpus=c)) for c in ("smallest", "largest"))  # type: ignore[arg-type]
    assert picks(Entropy(), features, budget, seed) == picks(small, features, budget, seed)
    assert picks(MaxDiff(), features, budget, seed) == picks(large, features, budget, seed)
    negated = dataclasses.replace(features, margin_N=-np.array(margins, np.float64))
    for rule in (small, large):  # calling the responses a and b the other way round changes nothing
        assert picks(rule, negated, budget, seed) == picks(rule, features, budget, seed)


def test_saturated_margins_keep_their_order() -> None:
    margins = np.array([40.0, 900.0, 38.0, 2000.0, -1500.0])
    cost = np.ones(5)
    features = dataclasses.replace(random_features(5, frozenset(), past=0), margin_N=margins)
    priced = dataclasses.replace(features, cost_N=cost)
    for rule in (Entropy(), Margin(MarginConfig())):
        for pool in (features, priced):
            assert picks(rule, pool, 5) == [2, 0, 1, 4, 3]
    assert picks(MaxDiff(), features, 5) == [3, 4, 1, 0, 2]


def test_per_second_is_the_gain_over_the_cost() -> None:
    features = random_features(30, frozenset({"margin_N", "cost_N"}), seed=5)
    assert features.margin_N is not None and features.cost_N is not None
    entropy = np.array([entropy_of(m) for m in features.margin_N.tolist()])
    chosen = choose(Entropy(), features, 8, np.random.default_rng(0))
    assert chosen.indices_B.tolist() == np.argsort(-entropy / features.cost_N)[:8].tolist()
    np.testing.assert_allclose(chosen.scores_B, (entropy / features.cost_N)[chosen.indices_B])
    assert "per second" in chosen.unit
    largest = picks(MaxDiff(), features, 8)
    assert largest == np.argsort(-np.abs(features.margin_N) / features.cost_N)[:8].tolist()


def test_diagnostics_say_how_hard_the_pairs_are() -> None:
    features = random_features(20, frozenset({"margin_N"}))
    assert features.margin_N is not None
    chosen = choose(Margin(MarginConfig()), features, 5, np.random.default_rng(0))
    size = np.abs(features.margin_N)
    assert chosen.diagnostics["mean_abs_margin"] == pytest.approx(np.sort(size)[:5].mean())
    assert chosen.diagnostics["mean_abs_margin_of_pool"] == pytest.approx(size.mean())


# APLP


def aplp_by_hand(features: Features, budget: int, oversampling: float) -> list[int]:
    assert features.margin_N is not None and features.prompt_entropy_N is not None
    prompts: dict[str, list[int]] = {}
    for i in range(features.n):
        prompts.setdefault(str(features.prompt_ids_N2[i, 0]), []).append(i)
    # Exact, and to nine decimals: 1.1 times 10 is 11 pairs, although the floating-point number nearest 1.1 is larger.
    wanted = math.ceil(round(Fraction(oversampling) * budget, 9))
    kept: list[int] = []
    for prompt in sorted(prompts, key=lambda x: -features.prompt_entropy_N[prompts[x][0]]):
        if len(kept) >= min(wanted, features.n):
            break
        kept += prompts[prompt]
    return sorted(kept, key=lambda i: -abs(features.margin_N[i]))[:budget]


@given(st.integers(0, 50), st.integers(1, 20), st.floats(1, 6))
@example(seed=0, budget=4, oversampling=1.0000000000000002)  # 4.000000000000001 pairs are 4
@example(seed=0, budget=10, oversampling=1.1)
def test_aplp_equals_its_definition(seed: int, budget: int, oversampling: float) -> None:
    features = random_features(20, frozenset({"margin_N", "prompt_entropy_N"}), seed=seed, prompts=5)
    rule = APLP(APLPConfig(oversampling=oversampling))
    assert picks(rule, features, budget) == aplp_by_hand(features, budget, oversampling)


def test_aplp_takes_the_highest_entropy_and_the_largest_margin() -> None:
    """Against the two signs that were published inverted."""
    features = random_features(12, frozenset({"margin_N", "prompt_entropy_N"}), prompts=6)
    prompt = features.prompt_ids_N2[:, 0]
    high = np.isin(prompt, ["prompt0", "prompt1"])
    features = dataclasses.replace(features, prompt_entropy_N=np.where(high, 50.0, 10.0), margin_N=np.arange(12) - 3.5)
    budget = int(high.sum()) - 1
    chosen = picks(APLP(APLPConfig(oversampling=1.0)), features, budget)
    assert set(chosen) <= set(np.flatnonzero(high))
    size = np.abs(features.margin_N)
    assert min(size[chosen]) >= max(size[sorted(set(np.flatnonzero(high)) - set(chosen))])


def test_aplp_certainty_first() -> None:
    features = random_features(20, frozenset({"margin_N", "prompt_entropy_N"}), prompts=8)
    assert features.margin_N is not None and features.prompt_entropy_N is not None
    chosen = picks(APLP(APLPConfig(first="certainty", oversampling=2.0)), features, 4)
    kept = np.argsort(-np.abs(features.margin_N))[:8]
    assert set(chosen) <= set(kept.tolist())
    entropy = features.prompt_entropy_N
    assert min(entropy[chosen]) >= max(entropy[sorted(set(kept.tolist()) - set(chosen))])
