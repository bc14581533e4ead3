"""Studies run in processes of their own, which kill themselves with -9 at a moment that is given by name."""

from __future__ import annotations

import functools
import gc
import multiprocessing
import os
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from duelist.annotators.base import Annotator
from duelist.progress import Advance, Progress
from duelist.store.store import Store
from duelist.types import Answer, Batch, Label

# Each process is forked from a server that has the heavy modules loaded but has not used them: importing them anew
# would take seconds each time, and autograd does not survive the fork of a process that has used it.
PROCESSES = multiprocessing.get_context("forkserver")
PROCESSES.set_forkserver_preload(
    [
        "pytest",
        "sqlite3",
        "sqlalchemy.dialects.sqlite",
        "alembic.command",
        "alembic.config",
        "duelist.study.study",
        "duelist.pairing.in_prompt",
        "duelist.acquisition.activedpo",
        "duelist.annotators.reward",
        "duelist.featurizers.gradient",
        "duelist.samplers.vanilla",
        "duelist.trainers.trl_dpo",
        "transformers.models.llama.modeling_llama",
        "trl.DPOConfig",
    ]
)

# What dies where: while the database is made; at the middle step of a stage; with the artifact half written; with the
# artifact in place but the stage not marked; with the rows written but not committed; right after the commit.
KINDS = ["schema", "inside", "written", "renamed", "uncommitted", "committed"]


def in_process(function: Callable[..., None], *args: Any) -> int | None:
    """The exit code of `function` run in a process of its own; minus the signal if it was killed."""
    process = PROCESSES.Process(target=function, args=args)
    process.start()
    process.join()
    return process.exitcode


@dataclass
class Moments(Progress):
    """Names every moment at which a process might die, writes the names down, and dies at one of them."""

    trace: Path
    last: str | None
    place: str = "create"
    committing: bool = False
    counts: dict[str, int] = field(default_factory=dict)

    def enter(self, place: str) -> None:
        self.place = place
        self.counts.clear()

    def at(self, what: str, before_dying: Callable[[], None] = lambda: None) -> None:
        self.counts[what] = self.counts.get(what, 0) + 1
        name = f"{self.place}/{what}/{self.counts[what]}"
        with self.trace.open("a", encoding="utf-8") as file:
            file.write(name + "\n")
        if name == self.last:
            before_dying()
            os.kill(os.getpid(), signal.SIGKILL)

    @contextmanager
    def stage(self, description: str, total: int) -> Iterator[Advance]:
        """Every step that a stage reports is a moment inside it: an optimizer step, a generated batch."""
        yield lambda steps: self.at("inside")

    def note(self, text: str) -> None:
        pass


class WatchedAnnotator(Annotator):
    """Writes down which questions the annotator is shown."""

    def __init__(self, annotator: Annotator, moments: Moments, shown: Path) -> None:
        self.annotator, self.moments, self.shown = annotator, moments, shown

    def annotate(self, batch: Batch, seed: int, progress: Progress) -> list[Label | Answer]:
        self.moments.enter(f"{batch.round}-annotate")
        with self.shown.open("a", encoding="utf-8") as file:
            file.writelines(f"{q.id}\n" for q in batch.questions)
        return self.annotator.annotate(batch, seed, progress)


def watch(moments: Moments) -> None:
    """Hook the moments into the store. Nothing is taken back: the process is thrown away."""
    from sqlalchemy import Engine, event
    from sqlalchemy.orm import Session

    from duelist.store import artifacts, folder
    from duelist.study import components as parts

    def entering(name: str, place: Callable[..., str]) -> None:
        original = getattr(folder.StudyFolder, name)

        @functools.wraps(original)
        def watched(self: Any, *args: Any, **kwargs: Any) -> Any:
            moments.enter(place(self, *args))
            return original(self, *args, **kwargs)

        setattr(folder.StudyFolder, name, watched)

    def prepare(*args: Any) -> Path:
        moments.enter("prepare")
        return original_prepare(*args)

    def committing(name: str) -> None:
        original = getattr(Store, name)

        @functools.wraps(original)
        def watched(self: Store, *args: Any, **kwargs: Any) -> Any:
            moments.committing = True
            value = original(self, *args, **kwargs)
            moments.committing = False
            moments.at("committed")
            return value

        setattr(Store, name, watched)

    @contextmanager
    def atomic_path(path: Path) -> Iterator[Path]:
        with original_atomic_path(path) as temporary:
            yield temporary
            moments.at("written", lambda: halve(temporary))
        moments.at("renamed")

    def before_commit(_: Session) -> None:
        if moments.committing:
            moments.at("uncommitted")

    def after_execute(_: Any, __: Any, statement: str, *___: Any) -> None:
        if statement.lstrip().startswith(("CREATE", "INSERT INTO alembic", "UPDATE alembic")):
            moments.at("schema")

    entering("run", lambda self, round, name, *_: f"{round}-{name}")
    entering("run_selection", lambda self, round, *_: f"{round}-select")
    entering("run_prelabelling", lambda self, round, *_: f"{round}-prelabel")
    entering("run_training", lambda self, round, *_: f"{round}-train")
    entering("run_known", lambda *_: "0-known")
    entering("close_round", lambda self, round, *_: f"{round}-close")
    entering("_write_derived", lambda self, closed: f"{closed[-1]['round']}-files")
    for name in ("finish_stage", "add_answers", "add_known", "close_round"):
        committing(name)
    original_prepare, parts.prepare = parts.prepare, prepare
    original_atomic_path = artifacts.atomic_path
    artifacts.atomic_path = folder.atomic_path = atomic_path
    event.listen(Session, "before_commit", before_commit)
    event.listen(Engine, "after_cursor_execute", after_execute)


def halve(path: Path) -> None:
    """Leave a file, or a folder's largest file, as a writer leaves it that dies halfway through."""
    file = max((p for p in path.rglob("*") if p.is_file()), key=lambda p: p.stat().st_size) if path.is_dir() else path
    with file.open("r+b") as stream:
        stream.truncate(file.stat().st_size // 2)


def run_study(folder: Path, recipe: dict[str, Any], last: str | None) -> None:
    """Run or resume a study, and die at the moment called `last`."""
    from duelist.recipe.reading import parse_recipe
    from duelist.study.study import Study

    gc.freeze()  # or every collection would go through all that the server has loaded
    os.environ["DUELIST_CACHE"] = str(folder.with_suffix(".cache"))
    moments = Moments(folder.with_suffix(".trace"), last)
    watch(moments)
    with Study.create(folder, parse_recipe(recipe), moments) as study:
        study.run(WatchedAnnotator(study.stages.components.annotator, moments, shown_log(folder)))


def run_study_saving_every_batch(folder: Path, recipe: dict[str, Any], last: str | None) -> None:
    """As `run_study`, but what a batch gave to the features counts at once, and not after a second."""
    from duelist.featurizers import feature_folder

    feature_folder.SAVE_SECONDS = 0.0
    run_study(folder, recipe, last)


def run_study_asking_ahead(folder: Path, recipe: dict[str, Any], last: str | None) -> None:
    """As `run_study`, but each batch is asked a round ahead, and its answers are told before the round's update."""
    from duelist.recipe.reading import parse_recipe
    from duelist.seeding import derived_seed
    from duelist.study.study import Study

    gc.freeze()
    moments = Moments(folder.with_suffix(".trace"), last)
    watch(moments)
    with Study.create(folder, parse_recipe(recipe), moments) as study:
        annotator = WatchedAnnotator(study.stages.components.annotator, moments, shown_log(folder))
        seed = derived_seed(study.recipe.seed, "annotate")
        while study.rounds_left:
            for batch in (study.ask(), study.ask_ahead()):
                left = batch.only({q.id for q in batch.questions} - study.store.answered()) if batch else None
                if left and left.questions:
                    study.tell(annotator.annotate(left, seed, moments))
            study.update()


def tell_half_and_die(folder: Path, recipe: dict[str, Any]) -> None:
    """Ask for the first batch, tell the answers to every other question, last first, and die."""
    from duelist.recipe.reading import parse_recipe
    from duelist.seeding import derived_seed
    from duelist.study.study import Study

    gc.freeze()
    study = Study.create(folder, parse_recipe(recipe))
    batch = study.ask()
    every_other = batch.only([q.id for q in batch.questions[::2]])
    moments = Moments(folder.with_suffix(".trace"), None)
    annotator = WatchedAnnotator(study.stages.components.annotator, moments, shown_log(folder))
    labels = annotator.annotate(every_other, derived_seed(study.recipe.seed, "annotate"), moments)
    study.tell(labels[::-1])
    os.kill(os.getpid(), signal.SIGKILL)


def run_until_full(folder: Path, recipe: dict[str, Any], message: Path) -> None:
    """Run or resume a study; if the disk is full, leave the error's message and exit with code 2."""
    from duelist.errors import StorageError
    from duelist.recipe.reading import parse_recipe
    from duelist.study.study import Study

    gc.freeze()
    try:
        with Study.create(folder, parse_recipe(recipe)) as study:
            study.run()
    except StorageError as error:
        message.write_text(str(error), encoding="utf-8")
        sys.exit(2)


def hold_open(folder: Path, connection: Any) -> None:
    """Work on a study until killed."""
    from duelist.store.opening import open_folder

    study = open_folder(folder)
    connection.send("open")
    connection.recv()
    study.close()


def moments_of(folder: Path, kind: str) -> list[str]:
    """Every moment of a kind in a study's life, in order; of those inside a stage the middle one."""
    by_place: dict[str, list[str]] = {}
    for name in folder.with_suffix(".trace").read_text(encoding="utf-8").splitlines():
        place, what, _ = name.split("/")
        if what == kind:
            by_place.setdefault(place, []).append(name)
    groups = by_place.values()
    return [x[len(x) // 2] for x in groups] if kind == "inside" else [name for x in groups for name in x]


def shown_log(folder: Path) -> Path:
    """Where the questions are written down that the annotator was shown."""
    return folder.with_suffix(".shown")


def migrate_and_die(folder: Path, statements: int) -> None:
    """Bring a study's database up to date, and die after so many changes of its schema and rows; 0: never."""
    from sqlalchemy import Engine, event

    done = 0

    def after_execute(_: Any, __: Any, statement: str, *___: Any) -> None:
        nonlocal done
        done += statement.lstrip().startswith(("CREATE", "INSERT", "DROP", "UPDATE", "ALTER"))
        if done == statements:
            os.kill(os.getpid(), signal.SIGKILL)

    if statements:
        event.listen(Engine, "after_cursor_execute", after_execute)
    Store(folder).close()
