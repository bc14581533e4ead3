"""Choice of a world's training by random's metric alone, on seeds outside the tables.

Training is part of the experiment: a rule that looks good because the policy was trained too long on random's labels
would look good for the wrong reason. So epochs, learning rate and whatever else the grid names are chosen before any
rule is looked at. The number of epochs is the early stopping: a round has no other data to stop by.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product
from pathlib import Path

import numpy as np

from duelist.compare.arms import ArmSettings, parse_each, plan_studies
from duelist.compare.comparison import Failure, finished_rows, run_comparison
from duelist.compare.curves import parse_metric
from duelist.compare.results import write_results
from duelist.compare.statistics import Floats, area_under
from duelist.errors import DuelistError
from duelist.progress import Progress
from duelist.settings.validation import read_yaml, write_yaml
from duelist.store.artifacts import write_text
from duelist.suite.record import seeds_in_words
from duelist.suite.summary import matched
from duelist.suite.worlds import FOLDER, TrainingChoice, World

GRID = ("trainer.train.num_train_epochs=1,2,3,6", "trainer.train.learning_rate=3.0e-4,1.0e-3")
KEY = "training:"


@dataclass(frozen=True)
class Candidate:
    """One training of the grid: its overrides, and random's mean area and end with it."""

    changes: tuple[str, ...]
    area: float
    end: float


def grid_of(keys: Sequence[str]) -> list[tuple[str, ...]]:
    """Return every combination of overrides from keys like `a.b=v,w`.

    Raises:
        RecipeError: if a key has another form.
    """
    return [tuple(found) for found in product(*([c for p in parse_each(k, Path()) for c in p.changes] for k in keys))]


def choose_training(
    folder: Path,
    world: World,
    grid: Sequence[str],
    seeds: Sequence[int],
    jobs: int | None,
    progress: Progress,
    command: str,
) -> tuple[TrainingChoice, list[Candidate]]:
    """Run random with every training of a grid, and choose the one with the best mean area of the world's metric.

    Args:
        folder: folder of the studies, resumable.
        world: the world.
        grid: keys like `a.b=v,w`; the candidates are all combinations.
        seeds: seeds, none of which a table uses.
        jobs: number of processes.
        progress: shows how many studies are done.
        command: the command, for the record.

    Returns:
        The choice, and the candidates from best to worst.

    Raises:
        DuelistError: if a study fails.
    """
    combinations = grid_of(grid)
    arms = [ArmSettings(f"training-{i:02d}", ("acquisition=random", *c)) for i, c in enumerate(combinations)]
    plain = world.model_copy(update={"training": None})
    studies = plan_studies(folder, world.recipe, plain.changes, arms, seeds)
    failures = run_comparison(folder, studies, jobs, progress)
    _require_all(failures)
    write_results(folder, studies, [world.metric, *world.beside])
    rows, metric = finished_rows(studies), parse_metric(world.metric)
    first_batch = float(studies[0].recipe.initial_random)
    candidates = []
    for arm, changes in zip(arms, combinations, strict=True):
        curves = matched({"random": rows[arm.name]}, "random", world.metric, "labels")
        assert curves is not None  # every study has finished
        x_E: Floats = curves.effort_E
        area = np.mean([area_under(x_E, y_E, first_batch, float(x_E[-1])) for y_E in curves.own_SE])
        candidates.append(Candidate(changes, float(area), float(curves.own_SE[:, -1].mean())))
    candidates.sort(key=lambda c: -c.area)
    best = candidates[0]
    sign = 1.0 if metric.higher_is_better else -1.0
    words = (
        f"chosen by random's mean {metric.name} from the first batch on ({sign * best.area:.3f}; worst of "
        f"{len(candidates)}: {sign * candidates[-1].area:.3f}) on seeds {seeds_in_words(seeds)}: `{command}`."
    )
    return TrainingChoice(set=best.changes, chosen=words), candidates


def write_training(world: World, choice: TrainingChoice, folder: Path = FOLDER) -> Path:
    """Write a training choice into the preset's file, in the place of an earlier one, and return the file.

    Raises:
        OSError: if the file cannot be written.
    """
    path = folder / f"{world.name}.yaml"
    head, _, after = path.read_text(encoding="utf-8").partition(f"\n{KEY}")
    # The choice is the file's last key, so that what people wrote above it stays as it is.
    assert not after or set(read_yaml(KEY + after)) == {KEY[:-1]}
    own = {KEY[:-1]: {"set": list(choice.set), "chosen": choice.chosen}}
    write_text(path, head.rstrip("\n") + "\n" + write_yaml(own))
    return path


def _require_all(failures: Sequence[Failure]) -> None:
    if failures:
        raise DuelistError(
            f"Every training must finish to be compared, but {len(failures)} studies failed; the first, "
            f"{failures[0].study.folder}: {failures[0].error} Correct the grid, and give another folder."
        )
