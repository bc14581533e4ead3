"""Run of a comparison: the unfinished studies, their failures and the rows of the finished ones."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from duelist.compare.arms import PlannedStudy
from duelist.compare.curves import Rows, read_rows
from duelist.compare.running import Outcome, in_order, run_studies
from duelist.errors import RecipeError, StudyLockedError
from duelist.files.atomic import discard
from duelist.files.locks import held
from duelist.progress import Progress
from duelist.recipe.reading import completed, saved_recipe
from duelist.recipe.recipe import recipe_content
from duelist.report.record import read_arm
from duelist.settings.validation import read_yaml
from duelist.store.artifacts import write_text
from duelist.store.layout import RECIPE
from duelist.store.recipe_file import differences

LOCK = ".lock"
ERROR_FILE = ".error.txt"  # next to a failed study's folder, with the traceback


@dataclass(frozen=True)
class Failure:
    """Study that failed, with its error message."""

    study: PlannedStudy
    error: str


def cores(threads: int) -> int:
    """Return how many processes of `threads` threads fit on this machine's cores, at least one."""
    available = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(1, available // threads)


def study_in(folder: Path) -> PlannedStudy:
    """Return the study of a comparison that was begun in a folder, with the recipe that it was begun with."""
    recipe = saved_recipe(read_yaml((folder / RECIPE).read_text(encoding="utf-8")))
    return PlannedStudy(folder.parent.name, recipe.seed, folder, recipe)


def is_finished(study: PlannedStudy) -> bool:
    """Return whether a study has closed every round or was ended by its stopping rule.

    Raises:
        RecipeError: if its folder contains a study of another recipe that has closed a round.
    """
    if not (study.folder / RECIPE).is_file():
        return False
    rounds = len(read_rows(study.folder))
    different = differences(study.folder, recipe_content(study.recipe), completed)
    if different and rounds > 1:  # without a closed round, the study starts over or raises its own error
        raise RecipeError(
            f"A comparison goes on with the recipes it began with, but {study.folder} was begun with other values of "
            f"{', '.join(different)}: give another folder with -o, or the settings that it was begun with."
        )
    if different or rounds == 0:
        return False
    return rounds == study.recipe.rounds + 1 or (study.recipe.stop is not None and read_arm(study.folder).finished)


def run_comparison(
    folder: Path,
    studies: Sequence[PlannedStudy],
    jobs: int | None,
    progress: Progress,
    on_outcome: Callable[[Outcome], None] = lambda outcome: None,
) -> list[Failure]:
    """Run the unfinished studies in parallel processes.

    Args:
        folder: comparison folder.
        studies: all studies of the comparison.
        jobs: number of processes; None for as many as fit on the cores.
        progress: shows how many studies are done.
        on_outcome: called when a study ends.

    Returns:
        The studies that failed.

    Raises:
        RecipeError: if a study's folder contains a study of another recipe.
        StorageError: if the folder cannot be written.
        StudyLockedError: if another process is working on this comparison.
    """
    threads = max(study.recipe.torch_threads for study in studies)
    in_use = StudyLockedError(
        f"One process at a time may work on a comparison, but another one works on {folder}: wait for it or stop it."
    )
    failures: list[Failure] = []
    with held(folder / LOCK, "A comparison's folder", in_use):
        missing = [study for study in studies if not is_finished(study)]
        if not missing:
            return []
        with progress.stage("Studies", len(studies)) as advance:
            advance(len(studies) - len(missing))

            def note(outcome: Outcome) -> None:
                file = outcome.study.folder.with_name(outcome.study.folder.name + ERROR_FILE)
                discard(file)
                if outcome.error is not None:
                    failures.append(Failure(outcome.study, outcome.error))
                    write_text(file, f"{outcome.details or outcome.error}\n")
                advance(1)
                on_outcome(outcome)

            workers = min(jobs or cores(threads), len(missing))
            run_studies(in_order(missing, workers), workers, threads, note)
    return failures


def finished_rows(studies: Sequence[PlannedStudy]) -> Rows:
    """Return the metrics rows of the finished studies, by arm and seed."""
    rows: dict[str, dict[int, list[dict[str, object]]]] = {study.arm: {} for study in studies}
    for study in studies:
        if is_finished(study):
            rows[study.arm][study.seed] = read_rows(study.folder)
    return rows
