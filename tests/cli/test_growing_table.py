"""The table that grows: each evaluated round once, the arms of a seed side by side."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

from rich.console import Console

from duelist.cli.growing_table import GrowingTable
from duelist.compare.arms import PlannedStudy
from duelist.recipe.reading import load_recipe


def add(folder: Path, t: int, **metrics: Any) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    row = {"round": t, "labels": 8 * t, "seconds": {"evaluate": 1.0}, **metrics}
    with (folder / "metrics.jsonl").open("a", encoding="utf-8") as file:
        file.write(json.dumps(row) + "\n")


def table(tmp_path: Path, *runs: tuple[str, int]) -> tuple[GrowingTable, io.StringIO, list[Path]]:
    recipe = load_recipe("quickstart")
    studies = [PlannedStudy(arm, seed, tmp_path / f"{arm}-{seed}", recipe) for arm, seed in runs]
    printed = io.StringIO()
    return GrowingTable(studies, Console(file=printed, width=40)), printed, [s.folder for s in studies]


def test_a_line_is_printed_once_when_every_arm_has_measured_the_round(tmp_path: Path) -> None:
    growing, printed, (own, other, second, _) = table(tmp_path, ("new", 0), ("random", 0), ("new", 1), ("random", 1))
    add(own, 0, mean_reward=0.5, j=4.0)
    growing.update(0)
    assert printed.getvalue() == ""  # the other arm has not begun
    add(other, 0, mean_reward=0.5, j=4.0)
    add(own, 1, mean_reward=0.6, j=4.5)
    growing.update(0)
    growing.update(0)
    add(other, 1, mean_reward=0.55, j=None)
    growing.update(0)
    add(second, 0, mean_reward=0.5, j=4.0)
    growing.update(1)
    assert printed.getvalue().splitlines() == [
        "After each round, on held-out prompts; J in label log-odds.",
        "  seed   round  labels  mean reward: new  mean reward: random  J: new  J: random",
        "     0       0       0            0.5000               0.5000  4.0000     4.0000",
        "     0       1       8            0.6000               0.5500  4.5000          –",
    ]


def test_a_single_study_shows_every_metric_of_the_terminal(tmp_path: Path) -> None:
    growing, printed, (own,) = table(tmp_path, ("new", 0))
    add(own, 0, mean_reward=0.5, kl=0.25, mean_length=7.0)
    add(own, 1, mean_reward=0.5, kl=0.25, seconds={"train": 1.0})  # not evaluated
    growing.update(0)
    assert printed.getvalue().splitlines()[1:] == [
        " round  labels  mean reward      KL",
        "     0       0       0.5000  0.2500",
    ]
