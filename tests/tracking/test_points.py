"""The numbers that a tracker gets of a study."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path

import small_study
from duelist.store.opening import create_folder
from duelist.store.store import Store
from duelist.tracking.points import flat_recipe, points_of


def test_a_point_for_every_closed_round_with_labels_as_the_step(tmp_path: Path) -> None:
    folder = create_folder(tmp_path, small_study.RECIPE)
    small_study.close(folder, 0)
    small_study.ask(folder, 1)
    small_study.tell(folder, 1)
    folder.run_training(1, "adapter", lambda target: {"loss": 0.5, "name": "not a number", "nan": float("nan")})
    folder.close_round(1, {"mean_reward": 0.25, "selected_kl": 0.1, "mean_reward_per_group": {"easy": 1.0}, "kl": None})
    folder.close()
    with closing(Store(tmp_path)) as store:
        initial, first = points_of(store)
        seconds = store.metrics()[1]["seconds"]
    assert (initial.round, initial.step, initial.values["eval/mean_reward"]) == (0, 0, 0.0)
    assert (first.round, first.step) == (1, 3)
    assert first.values == {
        "round": 1.0,
        "labels": 3.0,
        "asked": 3.0,
        "eval/mean_reward": 0.25,
        "eval/mean_reward_per_group/easy": 1.0,
        "selection/selected_kl": 0.1,
        "train/loss": 0.5,
        **{f"seconds/{stage}": value for stage, value in seconds.items()},
    }


def test_the_recipe_is_flat_and_plain() -> None:
    recipe = {"name": "a", "stop": None, "trainer": {"train": {"epochs": 2}}, "held": [1, 2], "online": False, "no": {}}
    assert flat_recipe(recipe) == {
        "name": "a",
        "stop": "",
        "trainer.train.epochs": 2,
        "held": "[1, 2]",
        "online": False,
        "no": "{}",
    }
