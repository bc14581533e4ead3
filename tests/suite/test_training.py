"""The training choice: the grid, and how it is written into a preset."""

from __future__ import annotations

from pathlib import Path

import pytest

from duelist.errors import RecipeError
from duelist.suite.training import GRID, grid_of, write_training
from duelist.suite.worlds import FOLDER, TrainingChoice, read_world


def test_the_grid_has_every_combination() -> None:
    assert grid_of(["a.b=1,2", "c=x,y"]) == [("a.b=1", "c=x"), ("a.b=1", "c=y"), ("a.b=2", "c=x"), ("a.b=2", "c=y")]
    assert len(grid_of(GRID)) == 8
    with pytest.raises(RecipeError, match=r"key\.path=value,value"):
        grid_of(["a.b"])


def test_a_choice_takes_the_place_of_an_earlier_one_and_leaves_the_rest(tmp_path: Path) -> None:
    text = (FOLDER / "useless.yaml").read_text().partition("\ntraining:")[0]
    (tmp_path / "useless.yaml").write_text(text.rstrip("\n") + "\n")
    world = read_world(tmp_path / "useless.yaml")
    assert world.training is None
    for epochs in (3, 2):
        choice = TrainingChoice(set=(f"trainer.train.num_train_epochs={epochs}",), chosen="by hand: `a command`.")
        path = write_training(world, choice, tmp_path)
        found = read_world(path)
        assert found.training == choice and found.model_copy(update={"training": None}) == world
        assert found.changes[-1] == f"trainer.train.num_train_epochs={epochs}"
        assert path.read_text().startswith(text.rstrip("\n"))
