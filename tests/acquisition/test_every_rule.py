"""Every rule that a recipe can name, in a study of a policy and in one of a reward model."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from duelist import Study, load_recipe, parse_recipe
from duelist.recipe.components import COMPONENTS
from duelist.recipe.recipe import recipe_content

RULES = list(COMPONENTS["acquisition"])


def asked(folder: Path, content: dict[str, Any]) -> list[str]:
    with Study.create(folder, parse_recipe(content)) as study:
        study.run()
        return [x.question.id for x in study.store.asked()]


@pytest.mark.parametrize("rule", RULES)
def test_it_chooses_in_a_study_of_a_policy(rule: str, tiny_recipe: dict[str, Any], tmp_path: Path) -> None:
    featurizers = {"margin": {}, "gradient": {"dimension": 64}, "embedding": {}}
    acquisition = {"name": rule, "candidates": 3}
    content = {**tiny_recipe, "featurizers": featurizers, "acquisition": acquisition, "target": {"prompts": 4}}
    picks = asked(tmp_path / "study", content)
    assert len(picks) == len(set(picks)) == 12


@pytest.mark.parametrize("rule", [r for r in RULES if r not in ("aplp", "policy_gap")])
def test_it_chooses_in_a_study_of_a_reward_model(rule: str, tmp_path: Path) -> None:
    small = ["rounds=2", "budget=12", "initial_random=12", "compare={}", "trainer.steps=20", f"acquisition={rule}"]
    content = recipe_content(load_recipe("reward-quickstart", small))
    picks = asked(tmp_path / "study", content)
    assert len(picks) == len(set(picks)) == 24
