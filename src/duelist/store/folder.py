"""Folder of a study: the recipe, the database, the rounds' artifacts, and the files derived from them.

recipe.yaml           the recipe, every default filled in
study.db              asked pairs, labels, and finished stages
rounds/NNN/           each stage's artifact; 000 is the initial model
metrics.jsonl         one line per closed round, the initial model's first
preferences.jsonl     the preferences so far, in TRL's format (pairs across prompts: with both prompts)
adapter/              the latest adapter, in PEFT's format (for other models, a folder of another name)
embeddings/           cache of computed embeddings
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from threading import RLock
from typing import Any, Protocol, TypeVar

from duelist.errors import RoundStateError, StorageError, full_disk_as_storage_error
from duelist.files.atomic import atomic_path, discard
from duelist.store.artifacts import digest, write_json, write_jsonl
from duelist.store.codecs import FEATURES, Codec
from duelist.store.decisions import question_of
from duelist.store.derived import (
    closed_rounds,
    preferences_are_current,
    results_are_current,
    write_preferences,
    write_results,
)
from duelist.store.layout import EMBEDDINGS, FEATURE_CACHE, KNOWN, KNOWN_STAGE, PRELABELLING, SELECTION, round_folder
from duelist.store.recipe_file import Completed, read_recipe, write_recipe
from duelist.store.row_codecs import AskedQuestion, Stage
from duelist.store.store import Store
from duelist.types import Label, Prompt, Selection

Value = TypeVar("Value")


class StudyLock(Protocol):
    """Lock that keeps other processes from opening the study."""

    @property
    def is_locked(self) -> bool:
        """Whether the study is open."""
        ...

    def require(self) -> None:
        """Raise an error if another machine has taken the study over."""
        ...

    def release(self) -> None:
        """Let others open it."""
        ...


class StudyFolder:
    """The only writer of a study's folder; holds its lock from opening to `close`.

    Attributes:
        clock: what the recorded seconds of stages are read from; a probe of costs reads CPU time instead.
    """

    def __init__(self, path: Path, lock: StudyLock, completed: Completed = dict) -> None:
        self.path = path
        self._lock = lock
        self._working = RLock()  # a write in progress finishes before the folder is closed
        self._closing = False
        self.clock: Callable[[], float] = time.monotonic
        self.store = Store(path)
        try:
            recipe = self.store.recipe()
            if recipe is None:  # a new study, or one from before recipes were recorded
                recipe = completed(read_recipe(path))
                self.store.keep_recipe(recipe)
        except BaseException:
            self.store.close()
            raise
        self.recipe: dict[str, Any] = recipe

    def close(self) -> None:
        """Bring the files that users read up to date, and release the database and the lock; later calls do nothing.

        Wait for another thread that works on the study to finish its stage.
        """
        self._closing = True
        with self._working:
            if not self._lock.is_locked:
                return
            try:
                with self.store.closing():
                    self._derive()
            finally:
                self._lock.release()

    def adopt(self, recipe: Mapping[str, Any]) -> None:
        """Replace the study's recipe by one that differs only in how training reports."""
        write_recipe(self.path, recipe)  # first, because opening the study reads this file
        self.store.keep_recipe(recipe)
        self.recipe = dict(recipe)

    def require_open(self) -> None:
        """Raise an error if the folder is closed, because another process may have opened it since.

        Raises:
            RoundStateError: if the folder is closed.
            StudyLockedError: if another machine has taken it over.
        """
        if self._closing:
            raise RoundStateError(
                f"A study must be open to be worked on, but {self.path} was closed: open it again with `Study.open`. "
                "Nothing recorded so far is lost."
            )
        self._lock.require()

    @contextmanager
    def _at_work(self, doing: str) -> Iterator[None]:
        """Hold the folder open while something is computed and written."""
        with self._working, full_disk_as_storage_error(doing):
            self.require_open()
            yield

    def round_folder(self, round: int) -> Path:
        """Return the folder of a round's artifacts."""
        return round_folder(self.path, round)

    def trained(self, round: int) -> Path:
        """Return the folder of the weights after a round; round 0 has the initial ones.

        Raises:
            StorageError: if that round has not trained, or its weights were not kept (online, between checkpoints).
        """
        stage = self.store.stage(round, "train")
        if stage is None:
            raise StorageError(f"Round {round} must have trained for its weights to be there, but it has not.")
        return self.path / stage.artifact

    def embeddings(self, source: str) -> Path:
        """Return the cache folder of one of the study's embedding models."""
        return self.path / EMBEDDINGS / source

    def feature_cache(self, round: int) -> Path:
        """Return the folder that caches the inputs of the features, so a killed study need not recompute them."""
        return self.round_folder(round) / FEATURE_CACHE

    def stage(self, round: int, name: str) -> Stage | None:
        """Return the stage if it is finished, else None."""
        return self.store.stage(round, name)

    def run(
        self,
        round: int,
        name: str,
        codec: Codec[Value],
        compute: Callable[[], Value],
        info: Callable[[Value], Mapping[str, Any]] = lambda value: {},
    ) -> Value:
        """Run a stage unless it is finished, and return the content of its artifact.

        The value is always read back from the artifact, so a resumed study continues from exactly the same numbers.

        Args:
            round: the round.
            name: the stage.
            codec: writes and reads the artifact.
            compute: computes the value.
            info: returns facts about the value, recorded in addition to the artifact.
        """
        with self._at_work(f"stage {name!r} of round {round}"):
            if self.store.stage(round, name) is None:
                began = self.clock()
                value = compute()
                path = self.round_folder(round) / codec.file
                with atomic_path(path) as temporary:
                    codec.write(temporary, value)
                self._finish(round, name, path, began, info(value))
        return self.read(round, name, codec)

    def read(self, round: int, name: str, codec: Codec[Value]) -> Value:
        """Return the content of a finished stage's artifact.

        Raises:
            StorageError: if the artifact is missing or was changed since the stage wrote it.
        """
        return codec.read(self._checked(round, name))

    def run_selection(
        self, round: int, compute: Callable[[], tuple[Selection, Sequence[AskedQuestion], Sequence[Prompt]]]
    ) -> None:
        """Run the selection stage, which records its artifact and the asked pairs together."""
        with self._at_work(f"stage 'select' of round {round}"):
            began = self.clock()
            selection, asked, prompts = compute()
            path = self.round_folder(round) / SELECTION
            names = ("score", "margin", "inclusion", "control")
            rows = [{"pair_id": x.question.id} | {name: getattr(x, name) for name in names} for x in asked]
            for row, x in zip(rows, asked, strict=True):
                if x.propensity is not None:
                    row |= {"propensity": x.propensity, "candidates_left": x.candidates_left}
            write_json(path, {"unit": selection.unit, "diagnostics": dict(selection.diagnostics), "picks": rows})
            self._finish(round, "select", path, began, dict(selection.diagnostics), asked, prompts)

    def run_prelabelling(self, round: int, compute: Callable[[], tuple[Sequence[Label], Mapping[str, Any]]]) -> None:
        """Run the stage that labels some questions before people are asked, unless it is finished.

        It records its labels together with its artifact, so they do not change if it was killed in between.

        Args:
            round: the round.
            compute: returns the labels, and facts about how they were chosen, as JSON: the artifact.
        """
        with self._at_work(f"stage 'prelabel' of round {round}"):
            if self.store.stage(round, "prelabel") is None:
                began = self.clock()
                labels, info = compute()
                path = self.round_folder(round) / PRELABELLING
                write_json(path, dict(info))
                self._finish(round, "prelabel", path, began, info, labels=labels)

    def run_known(
        self, compute: Callable[[], tuple[Sequence[AskedQuestion], Sequence[Prompt], Sequence[Label]]]
    ) -> None:
        """Run the stage that records the preferences known before round 1, unless it is finished."""
        with self._at_work("the preferences known before round 1"):
            if self.store.stage(0, KNOWN_STAGE) is not None:
                return
            began = self.clock()
            asked, prompts, labels = compute()
            path = self.round_folder(0) / KNOWN
            write_jsonl(path, [{"pair_id": x.pair_id, "annotator": x.annotator, "outcome": x.outcome} for x in labels])
            stage = self._stage(0, KNOWN_STAGE, path, began, {"preferences": len(labels)})
            self.store.add_known(asked, prompts, labels, stage)

    def run_training(
        self, round: int, artifact: str, fill: Callable[[Path], Mapping[str, Any]], name: str = "train"
    ) -> Mapping[str, float]:
        """Run a stage that writes a folder of weights, unless it is finished; return the result of `fill`.

        Args:
            round: the round; 0 for the weights before any label.
            artifact: the folder's name.
            fill: writes the weights into an empty folder.
            name: the stage.
        """
        with self._at_work(f"the weights of round {round}"):
            if self.store.stage(round, name) is None:
                began = self.clock()
                path = self.round_folder(round) / artifact
                with atomic_path(path) as temporary:
                    temporary.mkdir()
                    info = fill(temporary)
                self._finish(round, name, path, began, dict(info))
        self._checked(round, name)
        stage = self.store.stage(round, name)
        return stage.info if stage else {}

    def discard_features(self, round: int) -> None:
        """Delete a round's features, which are large and not needed after the selection."""
        discard(self.round_folder(round) / FEATURES.file)
        discard(self.feature_cache(round))

    def close_round(self, round: int, metrics: Mapping[str, Any]) -> dict[str, Any]:
        """Close a round: record its metrics, and derive the files that users read.

        Returns:
            The line of metrics.jsonl.
        """
        with self._at_work(f"the results of round {round}"):
            asked = {x.question.id for x in self.store.asked() if 0 < x.round <= round}  # of round 0: known before
            labels = sum(question_of(x) in asked for x in self.store.current_answers())
            seconds = {s.name: round_to_ms(s.seconds) for s in self.store.stages() if s.round == round}
            line = {"round": round, "labels": labels, **metrics, "asked": len(asked), "seconds": seconds}
            self.store.close_round(round, line)
            if self.store.stage(round, "train") is not None:
                self._derive()  # online, between checkpoints, users see the study as of the last checkpoint
        return self.store.metrics()[round]

    def derive(self) -> None:
        """Bring the files that users read up to date, if a round was closed or a label arrived since they were written.

        Files that were deleted or changed are written again, as far as the record has their content.
        """
        with self._at_work("the files that users read"):
            self._derive()

    def _derive(self) -> None:
        closed = closed_rounds(self.store)
        if not closed:
            return
        with full_disk_as_storage_error(f"the results of round {closed[-1]['round']}"):
            if not results_are_current(self.path, self.store, closed):
                self._write_derived(closed)
            elif not preferences_are_current(self.path, self.store):
                write_preferences(self.path, self.store)

    def _write_derived(self, closed: Sequence[Mapping[str, Any]]) -> None:
        write_results(self.path, self.store, closed)

    def _finish(
        self,
        round: int,
        name: str,
        path: Path,
        began: float,
        info: Mapping[str, Any],
        asked: Sequence[AskedQuestion] = (),
        prompts: Sequence[Prompt] = (),
        labels: Sequence[Label] = (),
    ) -> None:
        self.store.finish_stage(self._stage(round, name, path, began, info), asked, prompts, labels)

    def _stage(self, round: int, name: str, path: Path, began: float, info: Mapping[str, Any]) -> Stage:
        """Return the record of a stage whose artifact has just been written."""
        relative = path.relative_to(self.path).as_posix()
        return Stage(round, name, relative, digest(path), self.clock() - began, info)

    def _checked(self, round: int, name: str) -> Path:
        stage = self.store.stage(round, name)
        if stage is None:
            raise StorageError(f"Stage {name!r} of round {round} must be finished to be read, but it is not.")
        path = self.path / stage.artifact
        if not path.exists() or digest(path) != stage.digest:
            state = "has changed since" if path.exists() else "is gone"
            raise StorageError(
                f"The artifact of stage {name!r} of round {round} must be what the stage wrote, but {path} {state}: "
                "restore it from a copy. The labels are safe: `duelist export` still gives them."
            )
        return path


def round_to_ms(seconds: float) -> float:
    """Round seconds to the millisecond."""
    return round(seconds, 3)
