"""Run of a suite: all comparisons together, then the random subsets of the reference, then the best of them.

Each world's curves.csv is written again whenever a study ends, so that a report can be made at any time.
"""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path

from duelist.compare.arms import STUDIES, PlannedStudy
from duelist.compare.comparison import Failure, finished_rows, is_finished, run_comparison, study_in
from duelist.compare.curves import curve, parse_metric, read_rows
from duelist.compare.results import write_results
from duelist.compare.running import Outcome
from duelist.compare.tables import curves_csv
from duelist.errors import DataError, RecipeError, StudyLockedError
from duelist.files.locks import held
from duelist.progress import Progress
from duelist.store.artifacts import write_json, write_text
from duelist.store.layout import RECIPE
from duelist.suite.plan import (
    BEST,
    RULE_UNDER_TEST,
    SuiteSettings,
    plan_subsets,
    plan_world,
    rules_of,
    world_changes,
    world_recipe,
)
from duelist.suite.record import (
    CURVES,
    RECORD,
    WorldRecord,
    continued,
    here,
    left_out,
    new_record,
    read_record,
    write_record,
)
from duelist.suite.worlds import World

SUBSETS = "subsets.json"
LOCK = ".suite.lock"  # beside that of the comparison, which is let go between the parts of a suite
OnOutcome = Callable[[Outcome], None]


@dataclass(frozen=True)
class SuiteRun:
    """Outcome of a suite's run: the studies that failed, and the worlds that could not run, with the reason."""

    failures: Sequence[Failure]
    skipped: dict[str, str]


def run_suite(
    folder: Path,
    settings: SuiteSettings,
    jobs: int | None,
    progress: Progress,
    command: str,
    on_outcome: OnOutcome = lambda outcome: None,
) -> SuiteRun:
    """Run the unfinished studies of a suite, and write each comparison's results and the suite's record.

    Args:
        folder: the suite's folder.
        settings: what to run.
        jobs: number of processes; None for as many as fit on the cores.
        progress: shows how many studies are done.
        command: the command, for the record.
        on_outcome: called when a study ends.

    Raises:
        RecipeError: if a study's folder contains a study of another recipe, or the best subset was chosen of another
            number of subsets. Nothing is written then.
        StudyLockedError: if another process is working on this suite.
    """
    skipped = {world.name: reason for world in settings.worlds if (reason := world.absent) is not None}
    usable = [world for world in settings.worlds if world.name not in skipped]
    # A setting that is not valid ends it here.
    rules = {w.name: plan_world(folder, w, settings, _chosen(folder, w, settings)) for w in usable}
    in_use = StudyLockedError(
        f"One process at a time may work on a suite, but another one works on {folder}: wait for it or stop it."
    )
    with held(folder / LOCK, "A suite's folder", in_use):
        finished = {name: _Finished(folder / name, studies) for name, studies in rules.items()}
        record = {world.name: world_record(world, settings) for world in usable}
        run = new_record(command, RULE_UNDER_TEST, settings.seeds, record, skipped)
        if (folder / RECORD).is_file():
            before = read_record(folder)
            run = continued(run, before)
            if out := left_out(run, before):
                progress.note(
                    f"Not named now, so no part of the report any more: {'; '.join(out)}. Their studies stay."
                )
        write_record(folder, run)

        def note(outcome: Outcome) -> None:
            name, kind = outcome.study.folder.relative_to(folder).parts[:2]
            if kind == STUDIES and outcome.error is None:
                finished[name].add(outcome.study)
            on_outcome(outcome)

        def finish(studies: Sequence[PlannedStudy]) -> list[Failure]:
            failures = []
            # A comparison gives each of its processes as many threads as its hungriest study takes: those run apart.
            for threads in sorted({s.recipe.torch_threads for s in studies}):
                alike = [s for s in studies if s.recipe.torch_threads == threads]
                failures += run_comparison(folder, alike, jobs, progress, note)
            return failures

        # The rules first: the subsets take longest, and say only what could be gained.
        failures = finish([s for studies in rules.values() for s in studies])
        subsets = {w.name: plan_subsets(folder, w, settings) for w in usable}
        failures += finish([s for studies in subsets.values() for s in studies])
        best = {w.name: choose_subsets(folder, w, settings, subsets[w.name]) for w in usable}
        complete = {w.name: plan_world(folder, w, settings, best[w.name]) for w in usable}
        failed_before = {f.study.folder for f in failures}
        failures += finish([s for of in complete.values() for s in of if s.folder not in failed_before])
        for world in usable:
            own = [f for f in failures if f.study.folder.is_relative_to(folder / world.name)]
            write_results(folder / world.name, complete[world.name], [world.metric, *world.beside], own)
            failed = {f"{f.study.arm}, seed {f.study.seed}": f.error for f in own}
            record[world.name] = world_record(world, settings, failed)
        write_record(folder, replace(run, worlds=record))
    return SuiteRun(failures, skipped)


class _Finished:
    """The finished studies of a world's comparison, and its curves.csv, which has all of them at any time."""

    def __init__(self, folder: Path, studies: Sequence[PlannedStudy]) -> None:
        self._file = folder / CURVES
        self._rows = {arm: dict(of_arm) for arm, of_arm in finished_rows(studies).items()}
        if any(self._rows.values()):
            self._write()

    def add(self, study: PlannedStudy) -> None:
        self._rows.setdefault(study.arm, {})[study.seed] = read_rows(study.folder)
        self._write()

    def _write(self) -> None:
        write_text(self._file, curves_csv(self._rows))


def _chosen(folder: Path, world: World, settings: SuiteSettings) -> dict[int, int]:
    """Return the streams of the best subsets that were chosen before, by seed.

    Raises:
        RecipeError: if they were chosen of another number than is asked for now.
    """
    file = folder / world.name / SUBSETS
    if BEST not in world.references or not settings.subsets or not file.is_file():
        return {}
    found = {int(seed): own for seed, own in json.loads(file.read_text(encoding="utf-8")).items()}
    found = {seed: own for seed, own in found.items() if seed in settings.scaled}
    for seed, own in found.items():
        if len(own["ends"]) != settings.subsets:
            raise RecipeError(
                f"`--subsets` must stay what the suite began with, but the best subset of seed {seed} was chosen of "
                f"{len(own['ends'])} (in {file}), not of {settings.subsets}: give that number, or another folder."
            )
    return {seed: int(own["stream"]) for seed, own in found.items()}


def world_record(world: World, settings: SuiteSettings, failed: dict[str, str] | None = None) -> WorldRecord:
    """Return what the suite's record says of a world."""
    return WorldRecord(
        world.title,
        world.expects.strip(),
        world.recipe,
        tuple(world_changes(world, settings)),
        None if world.training is None else world.training.chosen,
        world.metric,
        world.beside,
        world_recipe(world, settings).initial_random,
        rules_of(world, settings),
        not world.embedded,
        failed or {},
        world.unit,
    )


def choose_subsets(
    folder: Path, world: World, settings: SuiteSettings, studies: Sequence[PlannedStudy]
) -> dict[int, int]:
    """Return, for each seed whose subsets are all trained on, the stream of the best one; keep the values in a file.

    Args:
        folder: the suite's folder.
        world: the world.
        settings: what the suite runs.
        studies: the world's random subsets (`plan_subsets`).
    """
    if not studies:
        return {}
    metric = parse_metric(world.metric)
    sign = 1.0 if metric.higher_is_better else -1.0
    rows = finished_rows(studies)
    values: dict[int, list[float]] = {}
    for seed in settings.scaled:
        curves = [curve(of_arm[seed], metric.name) for of_arm in rows.values() if seed in of_arm]
        ends = [float(c.values_E[-1]) for c in curves if c is not None]
        if len(ends) == settings.subsets:
            values[seed] = ends
    chosen = {seed: 1 + max(range(len(ends)), key=lambda i: sign * ends[i]) for seed, ends in values.items()}
    write_json(folder / world.name / SUBSETS, {str(s): {"stream": chosen[s], "ends": values[s]} for s in chosen})
    return chosen


def repeat_sample(folder: Path, count: int, again: Path, jobs: int | None, progress: Progress) -> str:
    """Run a random sample of a suite's finished studies a second time, and record whether every row is equal.

    Args:
        folder: the suite's folder.
        count: number of studies to repeat.
        again: a folder of its own for the second run; a killed one goes on there.
        jobs: number of processes.
        progress: shows how many studies are done.

    Returns:
        What was found, in words.

    Raises:
        DataError: if the folder is no suite's, or no study in it has finished.
        RecipeError: if the second folder has a suite, or has all of these studies already: nothing would run.
    """
    record = read_record(folder)
    places = sorted(p.parent for p in folder.glob(f"*/{STUDIES}/*/*/{RECIPE}"))
    random.Random(0).shuffle(places)
    sample = list(islice(filter(is_finished, map(study_in, places)), count))
    if not sample:
        raise DataError(f"A study must have finished to be repeated, but none in {folder} has: run the suite first.")
    copies = [replace(study, folder=again / study.folder.relative_to(folder)) for study in sample]
    if (again / RECORD).is_file() or all(map(is_finished, copies)):
        raise RecipeError(
            f"A second run needs a folder of its own, but {again} has finished studies already, so nothing would run: "
            "give a new folder with -o."
        )
    failures = run_comparison(again, copies, jobs, progress)
    rows = equal = 0
    for study, copy in zip(sample, copies, strict=True):
        first, second = (
            [{k: v for k, v in row.items() if k != "seconds"} for row in read_rows(s.folder)] for s in (study, copy)
        )
        rows += len(first)
        equal += sum(a == b for a, b in zip(first, second, strict=False))
    failed = f" {len(failures)} of them failed." if failures else ""
    words = f"A second run of {len(sample)} studies drawn at random gave {equal} of {rows} rows equal.{failed}"
    if here() != record.where:
        words += f" It ran elsewhere: {here()}."
    write_record(folder, replace(record, repeated=words))
    return words
