"""A first recipe: short, commented, valid, for every labeller; and what cannot be one."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import get_args

import pytest

from duelist.errors import DataError, RecipeError
from duelist.preflight.examination import examine
from duelist.preflight.starter import NEEDS_NAME, Labeller, Start, labeller, require_new, starter_recipe
from duelist.recipe.reading import load_recipe
from duelist.recipe.round_plan import total_budget


@pytest.fixture
def start(tmp_path: Path, tiny_model: Path, tiny_reward: str) -> Start:
    rows = [{"prompt": [{"role": "user", "content": f"w{i}"}], "chosen": "w1", "rejected": "w2"} for i in range(30)]
    prompts = tmp_path / "prompts with space.jsonl"
    prompts.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return Start("first", str(tiny_model), str(prompts), "reward_function", tiny_reward, 20, 32)


@pytest.mark.parametrize("who", get_args(Labeller))
def test_every_labeller_gets_a_short_recipe_that_can_run(who: Labeller, start: Start, tmp_path: Path) -> None:
    names = {"reward_function": start.labelled_by, "reward_model": "some/model", "judge": start.model}
    text = starter_recipe(replace(start, labeller=who, labelled_by=names.get(who)))
    assert len(text.splitlines()) < 40 and text.count("#") >= 6
    file = tmp_path / "first.yaml"
    file.write_text(text, encoding="utf-8")
    recipe = load_recipe(file)
    assert recipe.annotator is not None and recipe.annotator.name == ("dataset_labels" if who == "dataset" else who)
    assert total_budget(recipe) == 20
    examine(recipe, offline_ok=True, libraries=False)  # budget, pool and prompts fit together


@pytest.mark.parametrize(("budget", "rounds", "each"), [(100, 5, 20), (7, 1, 7), (8, 4, 2), (23, 5, 5)])
def test_the_budget_is_split_into_rounds(start: Start, tmp_path: Path, budget: int, rounds: int, each: int) -> None:
    file = tmp_path / "first.yaml"
    file.write_text(starter_recipe(replace(start, budget=budget)), encoding="utf-8")
    recipe = load_recipe(file)
    assert (recipe.rounds, recipe.budget) == (rounds, each)
    assert file.read_text(encoding="utf-8").startswith(f"# {rounds * each} labels by ")


def test_a_model_and_prompts_of_the_hub_need_not_be_reachable(start: Start, tmp_path: Path) -> None:
    text = starter_recipe(replace(start, model="me/model", prompts="me/prompts", labeller="people"))
    assert "  model: me/model\n" in text and "  path: me/prompts\n" in text and "  per_round: 20 " in text


def test_answers_that_make_no_study_are_refused(start: Start, tmp_path: Path) -> None:
    for who in NEEDS_NAME:
        with pytest.raises(RecipeError, match="must be named with `--by`"):
            starter_recipe(replace(start, labeller=labeller(who), labelled_by=None))
    with pytest.raises(RecipeError, match=r"`--by` must name a function as `file\.py:name`, but got 'f\.py'"):
        starter_recipe(replace(start, labelled_by="f.py"))
    with pytest.raises(RecipeError, match=r"`--labels` must be one of people, .* Did you mean 'people'"):
        labeller("peple")
    with pytest.raises(DataError, match="asks 200 questions, but 30 prompts give 72 at most"):
        starter_recipe(replace(start, budget=1000))
    with pytest.raises(DataError, match="no such file"):
        starter_recipe(replace(start, prompts="nowhere.jsonl"))
    few = tmp_path / "few.jsonl"
    few.write_text('{"prompt": "one"}\n', encoding="utf-8")
    with pytest.raises(DataError, match="at least 3 prompts"):
        starter_recipe(replace(start, prompts=str(few)))
    few.write_text('{"question": "one"}\n', encoding="utf-8")
    with pytest.raises(DataError, match=r"must have a `prompt` \(or `messages`\), but line 1 of .* has only question"):
        starter_recipe(replace(start, prompts=str(few)))
    for name, said in (("there.yaml", "exists"), ("recipe.txt", "must end in .yaml")):
        (tmp_path / "there.yaml").touch()
        with pytest.raises(RecipeError, match=said):
            require_new(tmp_path / name)
