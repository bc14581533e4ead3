"""The work of a round that is counted beforehand, against what a study's artifacts then hold."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from duelist import Study
from duelist.pairing.base import Pairing, PoolSize
from duelist.preflight.work import REST, work_of_rounds
from duelist.recipe.reading import parse_recipe
from duelist.store.artifacts import read_jsonl
from duelist.types import Draws, GivenResponses, Question


class Threes(Pairing):
    """Asks about three responses at a time, without a setting that says so."""

    sets_of = 3

    def pairs(self, draws: Draws, given: GivenResponses, round: int, seed: int = 0) -> list[Question]:
        raise NotImplementedError

    def most_pairs(self, pool: PoolSize) -> int | None:
        return None if pool.responses is None else len(pool.responses)


def test_the_counted_work_is_what_a_study_then_does(tiny_recipe: dict[str, Any], tmp_path: Path) -> None:
    tiny_recipe["evaluation"] |= {"responses_per_prompt": 2, "batch_size": 5}
    recipe = parse_recipe({**tiny_recipe, "initial_random": 6})
    with Study.create(tmp_path / "study", recipe) as study:
        study.run()
        work = work_of_rounds(recipe, study.stages.components.prompts)
        stages = study.store.stages()
        responses, candidates, written = (
            [read_jsonl(study.folder.round_folder(t) / f"{name}.jsonl") for t in (1, 2)]
            for name in ("responses", "pairs", "evaluation")
        )
    assert work is not None and [w.round for w in work] == [0, 1, 2]
    for w in work:  # every stage that ran was counted, and no other
        assert {s.name for s in stages if s.round == w.round} == w.stages.keys() - {REST}
    for t in (1, 2):
        of_round = work[t].stages
        assert of_round["sample"]["responses"] == 24 * 3 >= len(responses[t - 1]) > 24 * 2
        assert of_round["pair"]["questions"] == 24 * 3 >= len(candidates[t - 1]) > 24 * 2
        assert of_round["evaluate"] == {"rounds": 1, "responses": 12, "batches": 3}
        assert len(written[t - 1]) == 1 + 12  # after the metrics
        assert of_round["select"]["picks"] == 6
    assert work[1].stages["featurize"] == {"rounds": 1}  # drawn at random, without features
    assert work[2].stages["featurize"] == {"rounds": 1, "responses": 72, "past": 12}
    # Two epochs of batches of four: of 6 decisions, then of 12.
    assert [(w.stages["train"]["decisions"], w.stages["train"]["steps"]) for w in work[1:]] == [(6, 4), (12, 6)]
    assert work[1].stages[REST]["prompts"] == 6 and work[2].stages[REST]["prompts"] == 6 * (1 - 6 / 24)


def test_a_fixed_pool_is_drawn_once_and_shrinks(tiny_recipe: dict[str, Any]) -> None:
    tiny_recipe["prompts"] |= {"limit": 10, "held_out": 0}
    recipe = parse_recipe({**tiny_recipe, "pool": "fixed", "rounds": 3, "schedule": "decrease"})
    work = work_of_rounds(recipe, None)
    assert work is not None
    assert ["sample" in w.stages for w in work] == [False, True, False, False]
    assert [w.stages["pair"]["questions"] for w in work[1:]] == [30, 30 - 9, 30 - 9 - 6]
    assert [w.stages["select"]["picks"] for w in work[1:]] == [9, 6, 3]


def test_rl_works_on_prompts(tiny_recipe: dict[str, Any]) -> None:
    of_rl = {"num_generations": 4, "per_device_train_batch_size": 8, "num_train_epochs": 5, "max_completion_length": 6}
    trainer = {"name": "rlhf", "reward_model": {"train": {"per_device_train_batch_size": 2}}, "train": of_rl}
    tiny_recipe["prompts"] |= {"limit": 24}
    work = work_of_rounds(parse_recipe({**tiny_recipe, "trainer": trainer, "rounds": 1}), None)
    assert work is not None
    assert work[1].stages["train"] == {"rounds": 1, "decisions": 6, "prompts": 6, "steps": 3 * 3 + 5 * 3}


def test_past_questions_are_of_as_many_responses_as_the_pairing_says(tiny_recipe: dict[str, Any]) -> None:
    tiny_recipe["prompts"] |= {"limit": 24}
    work = work_of_rounds(parse_recipe({**tiny_recipe, "pairing": f"{__name__}:Threes"}), None)
    assert work is not None and work[2].stages["featurize"] == {"rounds": 1, "responses": 3 * 24, "past": 3 * 6}


def test_target_prompts_are_drawn_and_featurized_beside_the_pool(tiny_recipe: dict[str, Any]) -> None:
    tiny_recipe["prompts"] |= {"limit": 10}
    target = {"prompts": 64, "responses_per_prompt": 3}
    recipe = parse_recipe({**tiny_recipe, "acquisition": "policy_gap", "target": target})
    work = work_of_rounds(recipe, None)
    assert work is not None and work[1].stages["target"]["responses"] == 10 * 3
    assert work[1].stages["featurize"]["responses"] == 10 * 3 + 10 * 3


def test_a_pool_that_is_not_known_has_no_work(tiny_recipe: dict[str, Any]) -> None:
    assert work_of_rounds(parse_recipe(tiny_recipe), None) is None
