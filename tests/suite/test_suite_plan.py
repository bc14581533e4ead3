"""The presets and the studies of a suite, without running any."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from duelist.compare.arms import ArmSettings
from duelist.errors import RecipeError
from duelist.recipe.round_plan import total_budget
from duelist.suite.plan import (
    BEST,
    FLOOR,
    LOOK_AHEAD,
    RULE_UNDER_TEST,
    SuiteSettings,
    plan_subsets,
    plan_world,
    rules_of,
)
from duelist.suite.rules import RandomStream, RandomStreamConfig
from duelist.suite.worlds import with_data, worlds
from duelist.types import Features

EMBEDDED = [
    *("base", "duplicates", "equal", "graded", "inexpressible", "length_bias", "noisy", "pure_noise", "useless"),
]


def test_every_preset_is_a_recipe_and_says_when_choice_should_help() -> None:
    found = {world.name: world for world in worlds()}
    assert [name for name, world in found.items() if world.embedded] == EMBEDDED
    assert {"ukp", "hh", "smollm2"} <= set(found) and next(iter(found)) == "base"
    for name in EMBEDDED:
        world = found[name]
        recipe = world.require()
        assert recipe.annotator is not None and recipe.annotator.setting("temperature") == 0.125
        assert len(world.expects) > 60 and world.absent is None


def test_quick_has_four_worlds_and_two_arms() -> None:
    settings = SuiteSettings(tuple(worlds(quick=True)), (0, 1), quick=True)
    studies = [s for world in settings.worlds for s in plan_world(Path("x"), world, settings)]
    assert len(settings.worlds) == 4 and len(studies) == 16
    assert {s.arm for s in studies} == {"random", RULE_UNDER_TEST}
    # One pool, hence one first batch.
    assert {s.recipe.sampler.setting("responses_per_prompt") for s in studies} == {8}
    assert [plan_subsets(Path("x"), world, settings) for world in settings.worlds] == [[]] * 4


def test_arms_that_only_give_a_scale_may_have_fewer_seeds() -> None:
    (world,) = worlds(["base"])
    settings = SuiteSettings((world,), (3, 5), subsets=2, scale_seeds=(5,))
    arms = {(s.arm, s.seed) for s in plan_world(Path("x"), world, settings)}
    assert {arm for arm, seed in arms if seed == 3} == {"random", RULE_UNDER_TEST}
    assert {LOOK_AHEAD, FLOOR, "random", RULE_UNDER_TEST} < {arm for arm, seed in arms if seed == 5}
    assert {s.seed for s in plan_subsets(Path("x"), world, settings)} == {5}
    without = replace(settings, subsets=0)
    assert plan_subsets(Path("x"), world, without) == [] and BEST not in rules_of(world, without)


@pytest.mark.parametrize("name", ["random_again", "floor", "look_ahead", "best_subset"])
def test_the_suite_s_own_arms_keep_their_names(name: str) -> None:
    arm = ArmSettings(name, ("acquisition=entropy",))
    for quick in (True, False):
        with pytest.raises(RecipeError, match=f"`--arm` must have a name of its own, but '{name}'"):
            SuiteSettings(tuple(worlds(["base"])), (0,), (arm,), quick=quick)


def test_the_references_of_a_world() -> None:
    (world,) = worlds(["useless"])
    settings = SuiteSettings((world,), (3, 5), subsets=2)
    studies = plan_world(Path("x"), world, settings, {5: 2})
    arms = {seed: {s.arm: s.recipe for s in studies if s.seed == seed} for seed in (3, 5)}
    assert set(arms[5]) - set(arms[3]) == {BEST} and set(arms[5]) == set(rules_of(world, settings))
    assert arms[5][BEST].acquisition.setting("stream") == 2 and arms[3][FLOOR].acquisition.name == world.floor
    look = arms[3][LOOK_AHEAD]
    assert look.acquisition.setting("beta") == look.beta
    truth = look.featurizers["duelist.suite.truth:Truth"]
    assert truth.setting("weight") == "useful"
    assert truth.setting("annotator").temperature == 0.125

    # A subset is chosen with another stream of noise, and has all labels of a study at once.
    subsets = plan_subsets(Path("x"), world, settings)
    assert [(s.arm, s.seed) for s in subsets[:2]] == [("subset-000", 3), ("subset-001", 3)] and len(subsets) == 4
    first = subsets[0].recipe
    assert first.rounds == 1 and first.budget == total_budget(look)
    assert first.annotator is not None and first.annotator.setting("stream") == 1
    assert look.annotator is not None and look.annotator.setting("stream") == 0


def test_a_stream_picks_the_same_pairs_in_whatever_rounds() -> None:
    ids = np.array([f"pair{i}" for i in range(50)])
    two = np.stack([ids, ids], axis=1)
    pool = Features(ids, two, two, np.ones((50, 2), np.int64))
    rule = RandomStream(RandomStreamConfig(seed=1, stream=4))
    whole = set(ids[rule.select(pool, 20, np.random.default_rng(0)).indices_B])
    first = ids[rule.select(pool, 8, np.random.default_rng(1)).indices_B]
    left = np.flatnonzero(~np.isin(ids, first))
    rest = Features(ids[left], two[left], two[left], np.ones((42, 2), np.int64))
    second = ids[left][rule.select(rest, 12, np.random.default_rng(2)).indices_B]
    assert {*first, *second} == whole
    other = RandomStream(RandomStreamConfig(seed=1, stream=5)).select(pool, 20, np.random.default_rng(0))
    assert set(ids[other.indices_B]) != whole


def test_unknown_worlds_and_places_of_data_are_refused(tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match=r"A world must be one of base.*Did you mean 'equal'"):
        worlds(["equals"])
    for places in (["base=here"], ["ukp="], ["hh=here"], ["ukp=here", "ukp=there"]):
        with pytest.raises(RecipeError, match=r"`--data` is written WORLD=FOLDER, once .* \(ukp of those named\)"):
            with_data(worlds(["base", "ukp"]), places)
    with pytest.raises(RecipeError, match="must name each world once, but got base, equal, base"):
        worlds(["base", "equal", "base"])
    (ukp,) = with_data(worlds(["ukp"]), ["ukp=2024"])  # a folder's name, not a number
    assert ukp.absent is not None and "not at 2024" in ukp.absent
    (ukp,) = with_data(worlds(["ukp"]), [f"ukp={tmp_path / 'none'}"])
    assert ukp.absent is not None and str(tmp_path / "none") in ukp.absent
    assert worlds(["base"])[0].model_copy(update={"modules": ("no_such_module",)}).absent is not None
    (ukp,) = with_data(worlds(["ukp"]), [f"ukp={tmp_path}"])
    assert ukp.absent is None
