"""What every acquisition can be told beside its own settings."""

from __future__ import annotations

from typing import ClassVar

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from duelist.acquisition.base import Acquisition
from duelist.acquisition.options import AcquisitionOptions
from duelist.acquisition.random import Random
from duelist.errors import RecipeError
from duelist.recipe.component import Component
from duelist.types import Features, Selection


class Priced(Acquisition):
    """A rule that can count cost."""

    honours_cost: ClassVar[bool] = True

    @property
    def needs(self) -> frozenset[str]:
        return frozenset({"margin_N"})

    def select(self, features: Features, budget: int, rng: np.random.Generator) -> Selection:
        raise NotImplementedError


@given(n=st.integers(0, 60), budget=st.integers(0, 12), c=st.integers(1, 7), seed=st.integers(0, 5))
def test_what_is_drawn_depends_on_the_ids_alone(n: int, budget: int, c: int, seed: int) -> None:
    options = AcquisitionOptions(candidates=c)
    ids = [f"pair{i}" for i in range(n)]
    drawn = options.draw(ids, budget, np.random.default_rng(seed)).tolist()
    assert len(drawn) == min(n, c * budget) == len(set(drawn)) and drawn == sorted(drawn)
    backwards = options.draw(ids[::-1], budget, np.random.default_rng(seed))
    assert {ids[i] for i in drawn} == {ids[::-1][i] for i in backwards}


def test_every_pair_is_as_likely_to_be_drawn() -> None:
    ids = [f"pair{i}" for i in range(20)]
    rngs = [np.random.default_rng(seed) for seed in range(2000)]
    count = np.bincount(np.concatenate([AcquisitionOptions(candidates=2).draw(ids, 5, rng) for rng in rngs]))
    np.testing.assert_allclose(count / 2000, 0.5, atol=0.06)  # more than five standard deviations


def test_all_candidates_by_default() -> None:
    assert AcquisitionOptions().draw(["x", "y"], 1, np.random.default_rng()).tolist() == [0, 1]


def test_cost_is_asked_for_where_it_counts_and_refused_where_it_cannot() -> None:
    assert AcquisitionOptions().needs(Priced()) == {"margin_N"}
    assert AcquisitionOptions(per_second=True).needs(Priced()) == {"margin_N", "cost_N"}
    with pytest.raises(RecipeError, match=r"per_second.*Random"):
        AcquisitionOptions(per_second=True).needs(Random())


def test_any_rule_takes_them_in_a_recipe_and_never_sees_them() -> None:
    component = Component.of(Acquisition, {"name": "activedpo", "candidates": 5, "lambda": 0.1})
    assert component.content()["candidates"] == 5 and component.content()["lambda"] == 0.1
    assert component.options == AcquisitionOptions(candidates=5)
    assert component.build().config.lambda_ == 0.1
    assert Component.of(Acquisition, {"name": "random", "candidates": 5}).content() == {
        "name": "random",
        "candidates": 5,
    }
    with pytest.raises(RecipeError, match="candidates"):
        Component.of(Acquisition, {"name": "random", "candidates": 0})
