"""The plan's counts, against what a study then draws."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from duelist import Study, load_recipe
from duelist.errors import BudgetError
from duelist.preflight.examination import examine
from duelist.preflight.plan import plan, plan_rows
from duelist.recipe.recipe import parse_recipe
from duelist.store.artifacts import read_jsonl


def crossed(tiny_recipe: dict[str, Any], **pairing: int) -> dict[str, Any]:
    """24 prompts of three responses: 72 of them, 2,556 pairs."""
    del tiny_recipe["featurizers"]
    return {
        **tiny_recipe,
        "pairing": {"name": "cross_prompt", **pairing},
        "trainer": "bradley_terry",
        "acquisition": "random",
        "initial_random": 0,
    }


@pytest.mark.parametrize(("drawn", "expected"), [(100, 100), (2556, 2556), (20_000, 2556)])
def test_cross_prompt_pairs_are_those_that_are_drawn(tiny_recipe: dict[str, Any], drawn: int, expected: int) -> None:
    assert plan(parse_recipe(crossed(tiny_recipe, pairs=drawn))).candidate_pairs == expected


def test_a_study_draws_so_many_cross_prompt_pairs_and_held_out_responses(
    tiny_recipe: dict[str, Any], tmp_path: Path
) -> None:
    tiny_recipe["evaluation"] |= {"responses_per_prompt": 3}
    recipe = parse_recipe(crossed(tiny_recipe, pairs=100))
    found = plan(recipe)
    with Study.create(tmp_path / "study", recipe) as study:
        study.run()
        candidates = read_jsonl(study.folder.round_folder(1) / "pairs.jsonl")
        samples = read_jsonl(study.folder.round_folder(1) / "evaluation.jsonl")
    assert 90 < len(candidates) <= found.candidate_pairs == 100  # equal responses are one
    assert found.generations == 2 * 24 * 3 + 6 * 3  # the held-out responses are drawn once, for all rounds
    assert len(samples) - 1 <= 6 * 3  # after the metrics


def test_a_budget_beyond_the_cross_prompt_pairs_is_refused(tiny_recipe: dict[str, Any]) -> None:
    content = crossed(tiny_recipe, pairs=5)
    with pytest.raises(BudgetError, match="needs 6 pairs, and the pool has 5 at most"):
        examine(parse_recipe(content))
    examine(parse_recipe({**content, "budget": 5}))
    fixed = {**content, "pool": "fixed", "budget": 3}
    with pytest.raises(BudgetError, match="needs 6 pairs, and the pool has 5 at most"):
        examine(parse_recipe(fixed))


def test_the_papers_cross_prompt_pairs_are_20_000() -> None:
    """500 prompts of 10 responses, whether or not the prompts are within reach."""
    name = "paper/active-reward-modelling"
    found = plan(load_recipe(name, ["pairing=cross_prompt"]))
    assert found.candidate_pairs == 20_000
    assert plan_rows(found)["candidate pairs per round, at most"] == "20,000"
    assert plan(load_recipe(name)).candidate_pairs == 500 * 45
    assert plan(load_recipe(name, ["pairing=cross_prompt", "prompts.per_round=10"])).candidate_pairs == 100 * 99 // 2
