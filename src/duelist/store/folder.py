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
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

from filelock import FileLock

from duelist.errors import StorageError, full_disk_as_storage_error
from duelist.store.artifacts import (
    atomic_path,
    copy_folder,
    digest,
    discard,
    write_json,
    write_jsonl,
)
from duelist.store.codecs import FEATURES, Codec
from duelist.store.export import preference_rows
from duelist.store.layout import EMBEDDINGS, METRICS, PREFERENCES, ROUNDS, SELECTION
from duelist.store.recipe_file import read_recipe
from duelist.store.rows import AskedPair, Stage
from duelist.store.store import Store
from duelist.store.vectors import VectorShelf
from duelist.types import Prompt, Selection

Value = TypeVar("Value")


class StudyFolder:
    """The one writer of a study's folder; holds its lock from opening to `close`."""

    def __init__(self, path: Path, lock: FileLock) -> None:
        self.path = path
        self._lock = lock
        self.recipe: dict[str, Any] = read_recipe(path)
        self.store = Store(path)

    def close(self) -> None:
        """Release the database and the lock."""
        self.store.close()
        self._lock.release()

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

    def vectors(self, source: str) -> VectorShelf:
        """Where the vectors of one of the study's embedding models are kept."""
        return VectorShelf(self.path / EMBEDDINGS / source)

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
        if self.store.stage(round, name) is None:
            with full_disk_as_storage_error(f"stage {name!r} of round {round}"):
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
        with full_disk_as_storage_error(f"stage 'select' of round {round}"):
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
        if self.store.stage(round, "train") is None:
            with full_disk_as_storage_error(f"the weights of round {round}"):
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
        asked = {x.pair.id for x in self.store.asked() if x.round <= round}
        labels = sum(label.pair_id in asked for label in self.store.current_labels())
        seconds = {s.name: round_to_ms(s.seconds) for s in self.store.stages() if s.round == round}
        line = {"round": round, "labels": labels, **metrics, "asked": len(asked), "seconds": seconds}
        self.store.close_round(round, line)
        self.derive()
        return self.store.metrics()[round]

    def derive(self) -> None:
        """Bring the files that users read up to date, if a round was closed since they were written."""
        closed = self.store.metrics()
        while closed and self.store.stage(closed[-1]["round"], "train") is None:
            closed.pop()  # online, users see the study as it was at its last checkpoint
        if closed and _line_count(self.path / METRICS) != len(closed):
            with full_disk_as_storage_error(f"the results of round {closed[-1]['round']}"):
                self._write_derived(closed)

    def _write_derived(self, closed: Sequence[Mapping[str, Any]]) -> None:
        weights = self.trained(closed[-1]["round"])
        copy_folder(weights, self.path / weights.name)
        write_jsonl(self.path / PREFERENCES, preference_rows(self.store))
        write_jsonl(self.path / METRICS, closed)  # last: its length says that the others are up to date

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


def _line_count(path: Path) -> int:
    return len(path.read_text(encoding="utf-8").splitlines()) if path.is_file() else -1
