"""A study's folder: the recipe, the database, the rounds' artifacts, and the files derived from them.

recipe.yaml           the recipe, every default filled in
study.db              what was asked, what was answered, which stages are done
rounds/NNN/           each stage's artifact; 000 is the initial model
metrics.jsonl         one line per closed round, the initial model's first
preferences.jsonl     the preferences so far, in TRL's format (pairs across prompts: with both prompts)
adapter/              the latest adapter, in PEFT's format (a study of another model: its folder)
embeddings/           what an embedding model computed, so that it need not again
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from threading import RLock
from typing import Any, TypeVar

from filelock import BaseFileLock

from duelist.errors import RoundStateError, StorageError, full_disk_as_storage_error
from duelist.store.artifacts import atomic_path, digest, discard, write_json
from duelist.store.codecs import FEATURES, Codec
from duelist.store.derived import (
    closed_rounds,
    preferences_are_current,
    results_are_current,
    write_preferences,
    write_results,
)
from duelist.store.layout import EMBEDDINGS, ROUNDS, SELECTION
from duelist.store.recipe_file import Completed, read_recipe, write_recipe
from duelist.store.row_codecs import AskedPair, Stage
from duelist.store.store import Store
from duelist.store.vector_cache import StoredVectors
from duelist.types import Prompt, Selection

Value = TypeVar("Value")


class StudyFolder:
    """The one writer of a study's folder; holds its lock from opening to `close`."""

    def __init__(self, path: Path, lock: BaseFileLock, completed: Completed = dict) -> None:
        self.path = path
        self._lock = lock
        self._working = RLock()  # what is being written is finished before the folder is closed
        self._closing = False
        self.store = Store(path)
        try:
            recipe = self.store.recipe()
            if recipe is None:  # a study that is new, or older than the record of recipes
                recipe = completed(read_recipe(path))
                self.store.keep_recipe(recipe)
        except BaseException:
            self.store.close()
            raise
        self.recipe: dict[str, Any] = recipe

    def close(self) -> None:
        """Bring the files that users read up to date, and release the database and the lock. Once is enough.

        Another thread that works on the study is given the time to finish its stage.
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
        """Go on with a recipe that differs from the study's own in how training reports."""
        write_recipe(self.path, recipe)  # first: opening the study again goes by this file
        self.store.keep_recipe(recipe)
        self.recipe = dict(recipe)

    def require_open(self) -> None:
        """Refuse to go on when the folder is closed, for another process may have it by now.

        Raises:
            RoundStateError: if it is closed.
        """
        if self._closing:
            raise RoundStateError(
                f"A study must be open to be worked on, but {self.path} was closed: open it again with `Study.open`. "
                "Nothing recorded so far is lost."
            )

    @contextmanager
    def _at_work(self, doing: str) -> Iterator[None]:
        """Hold the folder open while something is computed and written."""
        with self._working, full_disk_as_storage_error(doing):
            self.require_open()
            yield

    def round_folder(self, round: int) -> Path:
        """Where a round's artifacts lie."""
        return self.path / ROUNDS / f"{round:03d}"

    def trained(self, round: int) -> Path:
        """The weights as they were after a round; after round 0 the initial ones.

        Raises:
            StorageError: if that round has not trained, or its weights were not kept (online, between checkpoints).
        """
        stage = self.store.stage(round, "train")
        if stage is None:
            raise StorageError(f"Round {round} must have trained for its weights to be there, but it has not.")
        return self.path / stage.artifact

    def vectors(self, source: str) -> StoredVectors:
        """Where the vectors of one of the study's embedding models are kept."""
        return StoredVectors(self.path / EMBEDDINGS / source)

    def stage(self, round: int, name: str) -> Stage | None:
        """The stage, if it is finished."""
        return self.store.stage(round, name)

    def run(
        self,
        round: int,
        name: str,
        codec: Codec[Value],
        compute: Callable[[], Value],
        info: Callable[[Value], Mapping[str, Any]] = lambda value: {},
    ) -> Value:
        """Run a stage unless it is finished, and return what its artifact holds.

        The value is always read back, so that a resumed study goes on from the very same numbers.

        Args:
            round: the round.
            name: the stage.
            codec: how the artifact is written and read.
            compute: makes the value.
            info: what is recorded of the value beside the artifact.
        """
        with self._at_work(f"stage {name!r} of round {round}"):
            if self.store.stage(round, name) is None:
                began = time.monotonic()
                value = compute()
                path = self.round_folder(round) / codec.file
                with atomic_path(path) as temporary:
                    codec.write(temporary, value)
                self._finish(round, name, path, began, info(value))
        return self.read(round, name, codec)

    def read(self, round: int, name: str, codec: Codec[Value]) -> Value:
        """What a finished stage's artifact holds.

        Raises:
            StorageError: if the artifact is gone or is not what the stage wrote.
        """
        return codec.read(self._checked(round, name))

    def run_selection(
        self, round: int, compute: Callable[[], tuple[Selection, Sequence[AskedPair], Sequence[Prompt]]]
    ) -> None:
        """Run the stage that decides what is asked: its artifact and the asked pairs are recorded together."""
        with self._at_work(f"stage 'select' of round {round}"):
            began = time.monotonic()
            selection, asked, prompts = compute()
            path = self.round_folder(round) / SELECTION
            rows = [{"pair_id": x.pair.id, "score": x.score, "margin": x.margin} for x in asked]
            write_json(path, {"unit": selection.unit, "diagnostics": dict(selection.diagnostics), "picks": rows})
            self._finish(round, "select", path, began, dict(selection.diagnostics), asked, prompts)

    def run_training(self, round: int, artifact: str, fill: Callable[[Path], Mapping[str, Any]]) -> Mapping[str, float]:
        """Run the stage that leaves a folder of weights, unless it is finished, and return what `fill` had to say.

        Args:
            round: the round; 0 for the weights before any label.
            artifact: the folder's name.
            fill: writes the weights into an empty folder.
        """
        with self._at_work(f"the weights of round {round}"):
            if self.store.stage(round, "train") is None:
                began = time.monotonic()
                path = self.round_folder(round) / artifact
                with atomic_path(path) as temporary:
                    temporary.mkdir()
                    info = fill(temporary)
                self._finish(round, "train", path, began, dict(info))
        self._checked(round, "train")
        stage = self.store.stage(round, "train")
        return stage.info if stage else {}

    def discard_features(self, round: int) -> None:
        """Drop a round's features: large, and of no use once the choice is made."""
        discard(self.round_folder(round) / FEATURES.file)

    def close_round(self, round: int, metrics: Mapping[str, Any]) -> dict[str, Any]:
        """Close a round: record its metrics, and derive the files that users read.

        Returns:
            The line of metrics.jsonl.
        """
        with self._at_work(f"the results of round {round}"):
            asked = {x.pair.id for x in self.store.asked() if x.round <= round}
            labels = sum(label.pair_id in asked for label in self.store.current_labels())
            seconds = {s.name: round_to_ms(s.seconds) for s in self.store.stages() if s.round == round}
            line = {"round": round, "labels": labels, **metrics, "asked": len(asked), "seconds": seconds}
            self.store.close_round(round, line)
            if self.store.stage(round, "train") is not None:
                self._derive()  # online, between checkpoints, users see the study as it was at the last one
        return self.store.metrics()[round]

    def derive(self) -> None:
        """Bring the files that users read up to date, if a round was closed or a label came since they were written.

        Those that were deleted or changed are written again, as far as the record has them.
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
        asked: Sequence[AskedPair] = (),
        prompts: Sequence[Prompt] = (),
    ) -> None:
        relative = path.relative_to(self.path).as_posix()
        stage = Stage(round, name, relative, digest(path), time.monotonic() - began, info)
        self.store.finish_stage(stage, asked, prompts)

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
    """Seconds, to the millisecond."""
    return round(seconds, 3)
