"""The plan's counts, against what a study then draws."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from duelist import Study, load_recipe
from duelist.errors import BudgetError
from duelist.preflight.examination import examine
from duelist.preflight.plan import plan, plan_rows
from duelist.recipe.reading import parse_recipe
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
    with pytest.raises(BudgetError, match="needs 6 questions, and the pool has 5 at most"):
        examine(parse_recipe(content))
    examine(parse_recipe({**content, "budget": 5}))
    fixed = {**content, "pool": "fixed", "budget": 3}
    with pytest.raises(BudgetError, match="needs 6 questions, and the pool has 5 at most"):
        examine(parse_recipe(fixed))


def test_the_papers_cross_prompt_pairs_are_20_000() -> None:
    """500 prompts of 10 responses, whether or not the prompts are within reach."""
    name = "paper/active-reward-modelling"
    found = plan(load_recipe(name, ["pairing=cross_prompt"]))
    assert found.candidate_pairs == 20_000
    assert plan_rows(found)["candidate questions per round, at most"] == "20,000"
    assert plan(load_recipe(name)).candidate_pairs == 500 * 45
    assert plan(load_recipe(name, ["pairing=cross_prompt", "prompts.per_round=10"])).candidate_pairs == 100 * 99 // 2


def of_sets(tiny_recipe: dict[str, Any], **changes: Any) -> dict[str, Any]:
    """24 prompts of five responses: questions of three, two rounds of six."""
    sampler = {"name": "vanilla", "responses_per_prompt": 5, "max_new_tokens": 6}
    return {**tiny_recipe, "sampler": sampler, "pairing": {"sets_of": 3}, **changes}


def test_larger_questions_are_counted_as_questions_and_their_features_as_responses(
    tiny_recipe: dict[str, Any], tmp_path: Path
) -> None:
    recipe = parse_recipe(of_sets(tiny_recipe, rounds=1))
    found = plan(recipe)
    assert (found.labels, found.candidate_pairs) == (6, 24 * 10)
    with Study.create(tmp_path / "study", recipe) as study:
        prompts = study.stages.prompts(1)
        study.stages.measure_initial_model()
        draws = study.stages.sample(1, prompts)
        candidates = study.stages.pair(1, draws, [])
        features = study.stages.featurize(1, candidates, [])
        file = study.folder.round_folder(1) / "features.npz"
        assert 200 < len(candidates) <= 24 * 10 and features.gradient_RD is not None
        rows = len(features.gradient_RD)
        assert 100 < rows <= 24 * 5
        assert 4 * 512 * rows < file.stat().st_size <= 4 * 512 * (24 * 5 + 3 * 6) + 40_000
    # Pairs of the same responses have as many features as there are pairs: ten times 24, and the six asked.
    pairs = plan(parse_recipe(of_sets(tiny_recipe, rounds=1, pairing="in_prompt")))
    assert found.memory_bytes is not None and pairs.memory_bytes is not None
    assert pairs.memory_bytes - found.memory_bytes == 2 * 4 * 512 * (24 * 10 + 6 - 24 * 5 - 3 * 6)


@pytest.mark.parametrize("k", [2, 3, 4])
def test_gradient_tokens_count_every_response_of_past_questions(tiny_recipe: dict[str, Any], k: int) -> None:
    found = plan(parse_recipe(of_sets(tiny_recipe, rounds=3, pairing={"sets_of": k})))
    assert found.gradient_tokens == (3 * 24 * 5 + k * (6 + 12)) * (6 + 128)


def test_a_budget_beyond_the_larger_questions_is_refused(tiny_recipe: dict[str, Any]) -> None:
    content = of_sets(tiny_recipe, rounds=1, budget=48, pairing={"sets_of": 4, "per_prompt": 2})
    examine(parse_recipe(content))
    with pytest.raises(BudgetError, match="needs 49 questions, and the pool has 48 at most"):
        examine(parse_recipe({**content, "budget": 49}))


@pytest.mark.parametrize(
    ("budget", "said"), [(1, "1 of its questions, 100%"), (4, "1 of its questions, 25%"), (5, None)]
)
def test_a_control_slice_that_rounding_makes_large_is_noted(
    tiny_recipe: dict[str, Any], budget: int, said: str | None
) -> None:
    content = {**tiny_recipe, "budget": budget, "control_fraction": 0.1, "initial_random": 0}
    notes = [n for n in plan(parse_recipe(content)).notes if "control_fraction" in n]
    assert len(notes) == (said is not None) and all(str(said) in n for n in notes)
    assert not [n for n in plan(parse_recipe({**content, "acquisition": "random"})).notes if "control_fraction" in n]
    assert not [n for n in plan(parse_recipe({**content, "control_fraction": 0.0})).notes if "control_fraction" in n]
