"""recipes/large: the settings fit together, and training with them works in small."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from duelist import Study, load_recipe
from duelist.recipe.reading import parse_recipe
from duelist.recipe.recipe import policy_of, recipe_content
from duelist.recipe.shipped import shipped_recipes

LARGE = sorted(name for name in shipped_recipes() if name.startswith("large/"))


@pytest.mark.parametrize("name", LARGE)
def test_each_shards_the_weights_over_all_gpus(name: str) -> None:
    recipe = load_recipe(name)
    assert recipe.trainer.setting("sharded") and recipe.trainer.setting("processes") > 1
    assert policy_of(recipe).load["device_map"] == "auto"
    (settings,) = recipe.trainer.build().trl_settings
    assert settings.filled(on_cpu=True).gradient_checkpointing  # TRL accepts them


def test_there_is_one_for_each_size() -> None:
    assert LARGE == ["large/32b", "large/70b", "large/7b"]


@pytest.mark.full
def test_a_tiny_study_trains_with_the_settings(tiny_recipe: dict[str, Any], tmp_path: Path) -> None:
    large = recipe_content(load_recipe("large/7b"))
    # bf16 is for GPUs, and needs other tolerances.
    train = {**large["trainer"]["train"], "bf16": False, "learning_rate": 1e-3}
    content = {**tiny_recipe, "rounds": 1, "trainer": {**large["trainer"], "train": train}}
    alone = {**content, "trainer": {**content["trainer"], "processes": 1, "sharded": False}}
    done: list[dict[str, float]] = []
    for name, recipe in (("alone", alone), ("together", content)):
        with Study.create(tmp_path / name, parse_recipe(recipe)) as study:
            study.run()
            stage = study.folder.stage(1, "train")
            assert stage is not None
            done.append({key: stage.info[key] for key in ("train_loss", "optimizer_steps", "preferences")})
    assert done[1] == pytest.approx(done[0], abs=1e-6)
