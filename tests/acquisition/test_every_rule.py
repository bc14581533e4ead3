"""Every rule that a recipe can name, in a study of a policy and in one of a reward model."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from duelist import Study, load_recipe, parse_recipe
from duelist.acquisition.base import choose
from duelist.featurizers.base import featurize
from duelist.recipe.components import COMPONENTS
from duelist.recipe.recipe import recipe_content

RULES = list(COMPONENTS["acquisition"])
OF_REWARD_MODELS = [r for r in RULES if r not in ("aplp", "policy_gap")]


def of_policy(tiny: dict[str, Any], rule: str) -> dict[str, Any]:
    featurizers = {"margin": {}, "gradient": {"dimension": 64}, "embedding": {}}
    acquisition = {"name": rule, "candidates": 3}
    return {**tiny, "featurizers": featurizers, "acquisition": acquisition, "target": {"prompts": 4}}


def of_reward_model(rule: str) -> dict[str, Any]:
    small = ["rounds=2", "budget=12", "initial_random=12", "compare={}", "trainer.steps=20", f"acquisition={rule}"]
    return recipe_content(load_recipe("reward-quickstart", small))


@pytest.fixture(scope="module")
def policy_study(tiny_content: dict[str, Any], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Study]:
    with Study.create(tmp_path_factory.mktemp("a") / "study", parse_recipe(of_policy(tiny_content, "margin"))) as study:
        yield after_one_round(study)


@pytest.fixture(scope="module")
def reward_study(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Study]:
    with Study.create(tmp_path_factory.mktemp("b") / "study", parse_recipe(of_reward_model("margin"))) as study:
        yield after_one_round(study)


def after_one_round(study: Study) -> Study:
    study.tell(study.stages.components.annotator.annotate(study.ask(), 0, study.progress))
    study.update()
    return study


def chosen(study: Study, content: dict[str, Any], budget: int) -> set[str]:
    """The questions that the rule of `content` would ask in the second round of a study."""
    acquisition = parse_recipe(content).acquisition
    rule, stages = acquisition.build(), study.stages
    needs = acquisition.options.needs(rule)
    past = [x.question for x in study.store.asked()]
    candidates = stages.pair(2, stages.sample(2, stages.prompts(2)), past)
    job = stages.choosing.feature_job(1, candidates, past, stages.target(2) if "target_MD" in needs else [])
    features = featurize(
        stages.components.featurizers, needs, job, stages.choosing.recorded(1, needs, candidates, past)
    )
    picks = choose(rule, features, budget, np.random.default_rng(0)).indices_B
    return {candidates[i].id for i in picks}


@pytest.mark.parametrize("rule", RULES)
def test_a_study_of_a_policy_has_what_it_needs(rule: str, policy_study: Study, tiny_recipe: dict[str, Any]) -> None:
    assert len(chosen(policy_study, of_policy(tiny_recipe, rule), 6)) == 6


@pytest.mark.parametrize("rule", OF_REWARD_MODELS)
def test_a_study_of_a_reward_model_has_what_it_needs(rule: str, reward_study: Study) -> None:
    assert len(chosen(reward_study, of_reward_model(rule), 12)) == 12


def asked(folder: Path, content: dict[str, Any]) -> list[str]:
    with Study.create(folder, parse_recipe(content)) as study:
        study.run()
        return [x.question.id for x in study.store.asked()]


@pytest.mark.full
@pytest.mark.parametrize("rule", RULES)
def test_it_chooses_in_a_study_of_a_policy(rule: str, tiny_recipe: dict[str, Any], tmp_path: Path) -> None:
    picks = asked(tmp_path / "study", of_policy(tiny_recipe, rule))
    assert len(picks) == len(set(picks)) == 12


@pytest.mark.full
@pytest.mark.parametrize("rule", OF_REWARD_MODELS)
def test_it_chooses_in_a_study_of_a_reward_model(rule: str, tmp_path: Path) -> None:
    picks = asked(tmp_path / "study", of_reward_model(rule))
    assert len(picks) == len(set(picks)) == 24
