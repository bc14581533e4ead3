"""The contract that `choose` holds every rule to."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from duelist.acquisition.activedpo import ActiveDPO, ActiveDPOConfig
from duelist.acquisition.base import Acquisition, choose
from duelist.acquisition.random import Random
from duelist.errors import DuelistError
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


def test_missing_features_are_named() -> None:
    features = dataclasses.replace(random_features(10, frozenset({"margin_N"})), margin_N=None)
    with pytest.raises(DuelistError, match="margin_N"):
        choose(Largest(), features, 2, np.random.default_rng(0))
    with pytest.raises(DuelistError, match="margins_N"):
        choose(Broken([0], frozenset({"margins_N"})), features, 1, np.random.default_rng(0))
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
