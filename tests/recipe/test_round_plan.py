"""How a study's budget is split over its rounds."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from duelist import Study, parse_recipe
from duelist.errors import BudgetError, RecipeError
from duelist.preflight.examination import examine
from duelist.preflight.plan import plan, plan_rows
from duelist.recipe.budget_schedule import scheduled
from duelist.recipe.recipe import recipe_content
from duelist.recipe.round_plan import asked_before, budget_of, budgets, in_words, total_budget
from duelist.store import codecs
from tiers import first

NAMES = st.sampled_from(["constant", "decrease", "increase"])
ROUNDS = st.integers(1, 40)
BUDGET = st.integers(1, 200)


@given(NAMES, ROUNDS, BUDGET)
def test_every_schedule_spends_the_total_and_asks_something_each_round(name: Any, rounds: int, budget: int) -> None:
    split = scheduled(name, rounds, budget)
    assert len(split) == rounds and sum(split) == rounds * budget and min(split) >= 1


@given(ROUNDS, BUDGET)
def test_schedules_are_monotone_and_mirror_each_other(rounds: int, budget: int) -> None:
    split = scheduled("decrease", rounds, budget)
    assert list(split) == sorted(split, reverse=True)
    assert scheduled("increase", rounds, budget) == split[::-1]
    assert scheduled("constant", rounds, budget) == (budget,) * rounds


@given(ROUNDS, BUDGET)
def test_decrease_is_within_one_pair_of_its_proportion(rounds: int, budget: int) -> None:
    """Where every share is 1 or more; otherwise the smallest are lifted to 1."""
    total, whole = rounds * budget, rounds * (rounds + 1) // 2
    shares = [Fraction(total * weight, whole) for weight in range(rounds, 0, -1)]
    if min(shares) >= 1:
        split = scheduled("decrease", rounds, budget)
        assert all(abs(b - share) < 1 for b, share in zip(split, shares, strict=True))


def test_the_papers_three_rounds() -> None:
    assert scheduled("decrease", 3, 100) == (150, 100, 50)
    assert scheduled("increase", 3, 2) == (1, 2, 3)
    assert scheduled("decrease", 5, 1) == (1, 1, 1, 1, 1)
    assert scheduled("decrease", 4, 2) == (3, 2, 2, 1)  # shares 3.2, 2.4, 1.6, 0.8: the last is lifted to 1


def test_a_list_says_the_budgets_and_its_mean_is_filled_in(tiny_recipe: dict[str, Any]) -> None:
    del tiny_recipe["budget"]
    recipe = parse_recipe({**tiny_recipe, "rounds": 3, "schedule": [7, 1, 4]})
    assert (recipe.budget, budgets(recipe), total_budget(recipe)) == (4, (7, 1, 4), 12)
    assert [(budget_of(recipe, t), asked_before(recipe, t)) for t in (1, 2, 3)] == [(7, 0), (1, 7), (4, 8)]
    assert parse_recipe(recipe_content(recipe)) == recipe
    assert in_words(recipe) == "3 rounds of 7, 1, 4 labels"


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"schedule": [1, 2, 3]}, "a budget for each of the 2 rounds, but has 3"),
        ({"schedule": [1, 2]}, "the mean of the list in `schedule`, 1.5"),
        ({"schedule": [12, 0]}, "greater than or equal to 1"),
        ({"schedule": "decline"}, "'constant', 'decrease' or 'increase'"),
    ],
)
def test_what_is_no_schedule_is_refused(tiny_recipe: dict[str, Any], change: dict[str, Any], words: str) -> None:
    with pytest.raises(RecipeError, match=words):
        parse_recipe({**tiny_recipe, **change})


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"per_round": [12, 6, 3]}, "a part of the prompts for each of the 2 rounds, but has 3"),
        ({"per_round": []}, "for each of the 2 rounds, but has 0"),
        ({"per_round": [12, 0]}, r"1 prompt or more, but got \(12, 0\)"),
        ({"per_round": 0}, "1 prompt or more, but got 0"),
        ({"per_round": [12, "x"]}, "integer"),
    ],
)
def test_what_is_no_split_of_the_prompts_is_refused(
    tiny_recipe: dict[str, Any], change: dict[str, Any], words: str
) -> None:
    with pytest.raises(RecipeError, match=words):
        parse_recipe({**tiny_recipe, "prompts": {**tiny_recipe["prompts"], **change}})


def test_a_split_needs_a_pool_that_is_drawn_each_round(tiny_recipe: dict[str, Any]) -> None:
    prompts = {**tiny_recipe["prompts"], "per_round": [12, 6]}
    with pytest.raises(RecipeError, match="set `pool: regenerate`"):
        parse_recipe({**tiny_recipe, "prompts": prompts, "pool": "fixed"})


def test_a_study_answers_each_part_of_the_prompts_once(tiny_recipe: dict[str, Any], tmp_path: Path) -> None:
    prompts = {**tiny_recipe["prompts"], "per_round": [16, 8]}
    tiny_recipe |= {"prompts": prompts, "schedule": "decrease", "budget": 9, "acquisition": "margin"}
    recipe = parse_recipe(tiny_recipe)
    with Study.create(tmp_path / "study", recipe) as study:
        study.run()
        answered = [{r.prompt_id for r in study.folder.read(t, "sample", codecs.DRAWS).responses} for t in (1, 2)]
        asked = [{x.question.a.prompt_id for x in study.store.asked(t)} for t in (1, 2)]
    assert [len(part) for part in answered] == [16, 8] and not answered[0] & answered[1]
    assert all(some <= part for some, part in zip(asked, answered, strict=True))
    found = plan(recipe)
    assert found.prompts_per_round == (16, 8)
    assert found.generations == (16 + 8) * 3 + 3 * 6 and found.candidate_pairs == 16 * 3
    assert plan_rows(found)["prompts per round"] == "16, 8"
    assert parse_recipe(recipe_content(recipe)) == recipe


def test_each_part_must_hold_its_rounds_budget(tiny_recipe: dict[str, Any]) -> None:
    """24 prompts of three pairs. The sum of the parts is enough, and so is the larger part; the second is not."""
    del tiny_recipe["budget"]
    tiny_recipe["prompts"]["per_round"] = [20, 4]
    examine(parse_recipe({**tiny_recipe, "schedule": [60, 12]}))
    with pytest.raises(BudgetError, match="needs 13 questions, and the pool has 12 at most"):
        examine(parse_recipe({**tiny_recipe, "schedule": [50, 13]}))


@pytest.mark.parametrize("pool", first(1, ["regenerate", "fixed"]))
def test_a_study_asks_by_its_schedule(tiny_recipe: dict[str, Any], tmp_path: Path, pool: str) -> None:
    recipe = parse_recipe({**tiny_recipe, "schedule": "decrease", "budget": 3, "pool": pool, "initial_random": 5})
    with Study.create(tmp_path / "study", recipe) as study:
        study.run()
        asked = study.store.asked()
        assert [len(study.store.asked(t)) for t in (1, 2)] == [4, 2]
        assert [x.score == 0 for x in asked][:4] == [True] * 4 and asked[4].score == 0  # the first 5 are random
        assert asked[5].score > 0
    assert plan(recipe).labels == 6


def test_the_pool_must_hold_the_largest_round(tiny_recipe: dict[str, Any]) -> None:
    """24 prompts of three pairs: 72. The mean fits, the first round does not; a fixed pool must hold the total."""
    first_too_large = {**tiny_recipe, "rounds": 2, "schedule": [73, 1]}
    del first_too_large["budget"]
    with pytest.raises(BudgetError, match=r"for 1 round\(s\) \(those of 2 rounds of 73, 1 labels\) needs 73 questions"):
        examine(parse_recipe(first_too_large))
    with pytest.raises(BudgetError, match="needs 74 questions"):
        examine(parse_recipe({**first_too_large, "schedule": [72, 2], "pool": "fixed"}))
