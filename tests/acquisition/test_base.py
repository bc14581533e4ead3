"""The contract that `choose` holds every rule to."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import ClassVar

import numpy as np
import pytest

from duelist.acquisition.activedpo import ActiveDPO, ActiveDPOConfig
from duelist.acquisition.base import ARRAY_FIELDS, Acquisition, choose
from duelist.acquisition.margin import MaxDiff
from duelist.acquisition.random import Random
from duelist.errors import DuelistError, NumericalError
from duelist.testing import check_acquisition, random_features
from duelist.types import Features, Selection


class Largest(Acquisition):
    """A user's own rule: the largest margins first."""

    @property
    def needs(self) -> frozenset[str]:
        return frozenset({"margin_N"})

    def select(self, features: Features, budget: int, rng: np.random.Generator) -> Selection:
        assert features.margin_N is not None
        order = np.argsort(-features.margin_N, kind="stable")[:budget]
        return Selection(order, features.margin_N[order], "margin")


@pytest.mark.parametrize(
    "rule",
    [
        Random(),
        Largest(),
        ActiveDPO(ActiveDPOConfig()),
        ActiveDPO(ActiveDPOConfig(lambda_=3.0, lambda_relative=False)),
    ],
    ids=["random", "own", "activedpo", "activedpo-absolute"],
)
def test_rules_conform(rule: Acquisition) -> None:
    check_acquisition(rule)


class Broken(Acquisition):
    """Breaks the contract in the way it is told."""

    def __init__(self, indices: list[int], needs: frozenset[str] = frozenset()) -> None:
        self._indices = indices
        self._needs = needs

    @property
    def needs(self) -> frozenset[str]:
        return self._needs

    def select(self, features: Features, budget: int, rng: np.random.Generator) -> Selection:
        return Selection(np.array(self._indices), np.zeros(len(self._indices)), "none")


@pytest.mark.parametrize("indices", [[0, 0], [0], [0, 1, 2], [0, 99], [-1, 0]])
def test_a_rule_that_breaks_its_contract_is_refused(indices: list[int]) -> None:
    with pytest.raises(DuelistError, match="must pick"):
        choose(Broken(indices), random_features(10, frozenset()), 2, np.random.default_rng(0))


@pytest.mark.parametrize(
    ("returned", "said"),
    [
        (None, "Answers.select must return a Selection, but returned a NoneType"),
        (Selection(np.array([0.5, 1.5]), np.zeros(2), ""), "a whole number each"),
        (Selection(np.array([0, 1]), np.zeros((2, 1)), ""), "one score each"),
        (Selection(np.array([0, 1]), np.array([1.0, np.nan]), ""), "a finite score, but gave pair candidate[0-9]+ nan"),
        (Selection(np.array([0, 1]), np.array([np.inf, 1.0]), ""), "a finite score, but gave pair candidate[0-9]+ inf"),
    ],
    ids=["nothing", "fractions", "columns", "nan", "inf"],
)
def test_an_answer_that_is_no_choice_is_refused(returned: Selection | None, said: str) -> None:
    class Answers(Broken):
        def select(self, features: Features, budget: int, rng: np.random.Generator) -> Selection:
            return returned  # type: ignore[return-value]  # what a rule must not do

    with pytest.raises(DuelistError, match=said):
        choose(Answers([]), random_features(10, frozenset()), 2, np.random.default_rng(0))


def test_a_cost_that_is_none_is_refused_by_every_rule() -> None:
    features = random_features(10, frozenset({"margin_N", "cost_N"}))
    for seconds, error in (
        (np.nan, NumericalError),
        (np.inf, NumericalError),
        (0.0, DuelistError),
        (-3.0, DuelistError),
    ):
        cost_N = np.ones(10)
        cost_N[4] = seconds
        with pytest.raises(error, match="candidate4"):
            choose(MaxDiff(), dataclasses.replace(features, cost_N=cost_N), 2, np.random.default_rng(0))


def test_shapes_that_do_not_fit_are_refused() -> None:
    needs = frozenset({"gradient_ND", "margin_N", "target_MD"})
    features = random_features(10, needs)
    past, gradient_ND, target_MD = features.past, features.gradient_ND, features.target_MD
    assert past is not None and past.gradient_ND is not None and gradient_ND is not None and target_MD is not None
    rule = Broken([0], needs | {"past"})
    for broken in (
        dataclasses.replace(features, gradient_ND=gradient_ND[:9]),
        dataclasses.replace(features, past=dataclasses.replace(past, gradient_ND=past.gradient_ND[:, :3])),
        dataclasses.replace(features, target_MD=target_MD[:, :3]),
    ):
        with pytest.raises(DuelistError, match="must have shape"):
            choose(rule, broken, 1, np.random.default_rng(0))


def test_the_kit_catches_a_rule_that_depends_on_the_pool_order() -> None:
    class ByName(Acquisition):
        @property
        def needs(self) -> frozenset[str]:
            return frozenset()

        def select(self, features: Features, budget: int, rng: np.random.Generator) -> Selection:
            order = np.argsort(features.pair_id_N)[:budget]  # never a draw
            return Selection(order, np.zeros(budget), "none")

    with pytest.raises(AssertionError, match="draw by the seed"):
        check_acquisition(ByName())


class Priced(Acquisition):
    """Largest margins by some use of cost."""

    honours_cost: ClassVar[bool] = True

    def __init__(self, score: Callable[[np.ndarray, np.ndarray], np.ndarray]) -> None:
        self._score = score

    @property
    def needs(self) -> frozenset[str]:
        return frozenset({"margin_N"})

    def select(self, features: Features, budget: int, rng: np.random.Generator) -> Selection:
        assert features.margin_N is not None
        score_N = np.abs(features.margin_N)
        if features.cost_N is not None:
            score_N = self._score(score_N, features.cost_N)
        order = np.argsort(-score_N, kind="stable")[:budget]
        return Selection(order, score_N[order], "margin")


class PricedInSecret(Priced):
    """The same, undeclared."""

    honours_cost: ClassVar[bool] = False


def test_the_kit_lets_cost_count_as_gain_per_second_only() -> None:
    check_acquisition(Priced(lambda gain, cost: gain / cost))
    with pytest.raises(AssertionError, match="must change nothing"):
        check_acquisition(Priced(lambda gain, cost: np.where(gain > np.median(gain), 0.0, gain) / cost))
    with pytest.raises(AssertionError, match="cheapest"):
        check_acquisition(Priced(lambda gain, cost: gain * cost))
    with pytest.raises(AssertionError, match="cost_N"):
        check_acquisition(PricedInSecret(lambda gain, cost: gain / cost))


def test_the_kit_catches_a_rule_that_looks_at_what_it_does_not_name() -> None:
    class Peeping(Largest):
        def select(self, features: Features, budget: int, rng: np.random.Generator) -> Selection:
            if features.log_ratio_N2 is None:
                return super().select(features, budget, rng)
            order = np.argsort(-features.log_ratio_N2[:, 0], kind="stable")[:budget]
            return Selection(order, np.zeros(budget), "none")

    with pytest.raises(AssertionError, match="`needs` names"):
        check_acquisition(Peeping())


@pytest.mark.parametrize("cross_prompt", [False, True])
@pytest.mark.parametrize(("n", "past", "prompts"), [(30, 5, 4), (1, 0, 1), (0, 0, 3), (200, 10, 6)])
def test_the_kits_pools_are_like_real_ones(n: int, past: int, prompts: int, cross_prompt: bool) -> None:
    everything = frozenset({*ARRAY_FIELDS, "target_MD", "past"})
    pool = random_features(n, everything, past=past, prompts=prompts, cross_prompt=cross_prompt)
    assert pool.past is not None and (pool.n, pool.past.n) == (n, past)
    seen = set()
    value: dict[tuple[str, str], tuple[float, int, str]] = {}
    entropy: dict[tuple[str, ...], float] = {}
    for part in (pool, pool.past):
        assert part.margin_N is not None and part.reward_N2K is not None and part.log_ratio_N2 is not None
        assert part.prompt_entropy_N is not None
        np.testing.assert_allclose(part.margin_N, (part.reward_N2K[:, 0] - part.reward_N2K[:, 1]).mean(axis=1))
        assert ((part.prompt_ids_N2[:, 0] != part.prompt_ids_N2[:, 1]) == cross_prompt).all()
        for i in range(part.n):
            responses, asked = part.response_ids_N2[i].tolist(), part.prompt_ids_N2[i].tolist()
            seen.add(frozenset(responses))
            assert entropy.setdefault(tuple(sorted(asked)), part.prompt_entropy_N[i]) == part.prompt_entropy_N[i]
            for side in (0, 1):  # a response is one and the same in all of its pairs
                own = (part.log_ratio_N2[i, side], int(part.length_N2[i, side]), asked[side])
                assert value.setdefault(("response", responses[side]), own) == own
    assert len(seen) == n + past  # all pairs are different, past ones too
    if n == 30:
        assert len(value) < 30  # and share their responses
    less = random_features(n, frozenset({"margin_N"}), past=past, prompts=prompts, cross_prompt=cross_prompt)
    assert less.margin_N is not None and np.array_equal(less.margin_N, pool.margin_N)
    assert less.gradient_ND is None and less.cost_N is None and less.target_MD is None


def test_missing_features_are_named() -> None:
    features = dataclasses.replace(random_features(10, frozenset({"margin_N"})), margin_N=None)
    with pytest.raises(DuelistError, match="margin_N"):
        choose(Largest(), features, 2, np.random.default_rng(0))
    with pytest.raises(DuelistError, match="margins_N"):
        choose(Broken([0], frozenset({"margins_N"})), features, 1, np.random.default_rng(0))
    with pytest.raises(DuelistError, match="must be a set of names, but is 'margin_N'"):
        choose(Broken([0], "margin_N"), features, 1, np.random.default_rng(0))  # type: ignore[arg-type]
    with pytest.raises(DuelistError, match="past"):
        choose(Broken([0], frozenset({"past"})), dataclasses.replace(features, past=None), 1, np.random.default_rng(0))


def test_a_pair_listed_twice_is_refused() -> None:
    features = random_features(10, frozenset())
    twice = dataclasses.replace(features, pair_id_N=np.repeat(features.pair_id_N[:1], 10))
    with pytest.raises(DuelistError, match="twice"):
        choose(Random(), twice, 2, np.random.default_rng(0))


def test_random_is_uniform() -> None:
    features = random_features(6, frozenset())
    counts = np.zeros(6)
    draws = 3000
    for seed in range(draws):
        counts[choose(Random(), features, 2, np.random.default_rng(seed)).indices_B] += 1
    expected = draws * 2 / 6
    assert ((counts - expected) ** 2 / expected).sum() < 25  # chi-square, 5 degrees of freedom: p < 2e-4
