"""Append-only record of a study.

Thread safety: every method is a separate transaction and may be called from any thread. Legal transitions: a stage is
finished once, a batch is asked once per round, a round is closed once, in order; labels may arrive at any time for any
asked pair.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from threading import RLock
from typing import Any

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from duelist.errors import DataError, LabelConflictError, RoundStateError, StorageError
from duelist.store.database import copy_of_database, database_files, open_engine, transaction, url_of
from duelist.store.layout import DATABASE
from duelist.store.preferences import preference_of
from duelist.store.remains import Known, known_to
from duelist.store.row_codecs import AskedPair, Stage, add_batch, label_from, label_row, now, read_asked, stage_from
from duelist.store.tables import LabelRow, PairRow, PreferencesFileRow, PromptRow, RecipeRow, RoundRow, StageRow
from duelist.types import Batch, Label, Preference, Prompt, VoteRule


class Store:
    """Record of a study: the asked pairs, the labels, and the finished stages."""

    def __init__(self, folder: Path, *, migrate: bool = True) -> None:
        self.folder = folder
        self._copy: TemporaryDirectory[str] | None = None
        self._closed = False
        self._writing = RLock()  # a write in progress finishes before the store is closed
        place = folder
        if not migrate:
            if not (folder / DATABASE).is_file():
                raise StorageError(  # SQLite itself would make an empty one
                    f"A study's folder must hold a {DATABASE}, but {folder} has none: correct the path, or run the "
                    "study."
                )
            if not all(os.access(path, os.W_OK) for path in (folder, *database_files(folder))):
                # SQLite writes files next to a database to read it. If it is told that it cannot, it reads without the
                # -wal, and so without the latest labels.
                self._copy, migrate = copy_of_database(folder), True
                place = Path(self._copy.name)
        try:
            self._engine = open_engine(url_of(place), migrate=migrate)
        except BaseException:
            if self._copy is not None:
                self._copy.cleanup()
            raise
        # The last rows read. The tables are append-only, so an unchanged count means unchanged rows.
        self._asked: list[AskedPair] = []
        self._prompts: dict[str, Prompt] = {}
        self._told: list[tuple[Label | None, str]] = []

    def close(self) -> None:
        """Release the database's connections. Nothing can be recorded afterwards."""
        with self._writing:
            self._closed = True
        self._engine.dispose()
        if self._copy is not None:
            self._copy.cleanup()

    @contextmanager
    def closing(self) -> Iterator[None]:
        """Close the store after the block. Nobody records meanwhile, so files derived in the block lack no label."""
        with self._writing:
            try:
                yield
            finally:
                self.close()

    @contextmanager
    def _recording(self) -> Iterator[Session]:
        """Open a transaction that adds rows.

        Raises:
            RoundStateError: if the store is closed.
        """
        with self._writing:
            if self._closed:
                raise RoundStateError(
                    f"A study must be open to be written to, but {self.folder} was closed: open it again with "
                    "`Study.open`. Nothing of this call was recorded."
                )
            with transaction(self._engine, writes=True) as session:
                yield session

    # Stages and rounds

    def stage(self, round: int, name: str) -> Stage | None:
        """Return the stage if it is finished, else None."""
        with transaction(self._engine) as session:
            row = session.get(StageRow, (round, name))
            return None if row is None else stage_from(row)

    def stages(self) -> list[Stage]:
        """Return all finished stages, in order of time."""
        with transaction(self._engine) as session:
            return [stage_from(row) for row in session.scalars(select(StageRow).order_by(StageRow.finished_at))]

    def finish_stage(self, stage: Stage, batch: Sequence[AskedPair] = (), prompts: Sequence[Prompt] = ()) -> None:
        """Record that a stage's artifact is in place, together with the pairs it selected, if any."""
        with self._recording() as session:
            add_batch(session, batch, prompts)
            session.add(
                StageRow(
                    round=stage.round,
                    stage=stage.name,
                    artifact=stage.artifact,
                    digest=stage.digest,
                    seconds=stage.seconds,
                    info=dict(stage.info),
                    finished_at=now(),
                )
            )

    def close_round(self, round: int, metrics: Mapping[str, Any]) -> None:
        """Record a round's metrics, which closes the round. A closed round never changes."""
        with self._recording() as session:
            if session.get(RoundRow, round) is None:
                session.add(RoundRow(round=round, metrics=dict(metrics)))

    def metrics(self) -> list[dict[str, Any]]:
        """Return the metrics of every closed round, in order; the first is the initial model's."""
        with transaction(self._engine) as session:
            return [dict(row.metrics) for row in session.scalars(select(RoundRow).order_by(RoundRow.round))]

    # Pairs that were asked

    def asked(self, round: int | None = None) -> list[AskedPair]:
        """Return the pairs asked in one round, or in all, in pick order."""
        with transaction(self._engine) as session:
            known = self._asked
            if session.scalar(select(func.count()).select_from(PairRow)) != len(known):
                known = self._asked = read_asked(session)
        return [x for x in known if round is None or x.round == round]

    def batch(self, round: int) -> Batch:
        """Return the batch asked in a round."""
        asked = self.asked(round)
        prompts = self.prompts()
        needed = {r.prompt_id: prompts[r.prompt_id] for x in asked for r in (x.pair.a, x.pair.b)}
        unit = asked[-1].unit if asked else "none"
        return Batch(round, tuple(x.pair for x in asked), needed, tuple(x.score for x in asked), unit)

    def prompts(self) -> dict[str, Prompt]:
        """Return the prompts of all asked pairs, by id."""
        with transaction(self._engine) as session:
            known = self._prompts
            if session.scalar(select(func.count()).select_from(PromptRow)) != len(known):
                rows = session.scalars(select(PromptRow))
                known = self._prompts = {r.id: Prompt(r.id, tuple(r.messages), r.plain, r.columns) for r in rows}
        return dict(known)

    # Labels

    def add_labels(self, labels: Sequence[Label]) -> int:
        """Record labels, all or none. A label that is already recorded with the same content is skipped.

        Returns:
            The number of new labels.

        Raises:
            LabelConflictError: if a label's id is recorded with different content.
            DataError: if a label is for a pair that was never asked, or cannot be recorded.
            RoundStateError: if the store is closed.
        """
        labels = list(labels) if isinstance(labels, Iterable) else labels
        if not isinstance(labels, list) or not all(isinstance(label, Label) for label in labels):
            raise DataError(f"Labels must be a list of `duelist.Label`, but got {labels!r}: put such labels in a list.")
        new = 0
        with self._recording() as session:
            for label in labels:
                row = session.scalars(select(LabelRow).where(LabelRow.id == label.id)).one_or_none()
                if row is not None:
                    recorded, wrong = label_from(row)
                    if recorded != label:
                        raise LabelConflictError(
                            f"A label's id stands for one act of labelling, but {label.id} is recorded as "
                            f"{recorded or wrong} and came again as {label}: give a changed decision a new id (a new "
                            "`Label` without one has one of its own). Nothing of this call was recorded."
                        )
                    continue
                if session.get(PairRow, label.pair_id) is None:
                    raise DataError(
                        f"A label must be for a pair that was asked, but {label.pair_id!r} never was: take pair ids "
                        "from `Study.ask()`. Nothing of this call was recorded."
                    )
                session.add(label_row(replace(label)))  # validated, because it may come from an old study
                session.flush()
                new += 1
        return new

    def labels(self) -> list[Label]:
        """Return every label ever recorded, in order of arrival, except the unusable ones (`damaged_labels`)."""
        return [label for label, _ in self._read_labels() if label is not None]

    def damaged_labels(self) -> list[str]:
        """Return the problems in labels recorded by earlier versions, one line each; the labels stay recorded."""
        return [wrong for _, wrong in self._read_labels() if wrong]

    def label_count(self) -> int:
        """Return the number of labels ever recorded."""
        with transaction(self._engine) as session:
            return session.scalar(select(func.count()).select_from(LabelRow)) or 0

    def current_labels(self) -> list[Label]:
        """Return the label that counts for each pair and annotator (the one that arrived last), sorted by both.

        The label's own time does not matter, because clocks can be set back.
        """
        latest = {(x.pair_id, x.annotator): x for x in self.labels()}
        return [latest[key] for key in sorted(latest)]

    def answered(self) -> set[str]:
        """Return the ids of the pairs that have a label, regardless of outcome."""
        return {label.pair_id for label in self.current_labels()}

    def _read_labels(self) -> list[tuple[Label | None, str]]:
        with transaction(self._engine) as session:
            known = self._told
            if session.scalar(select(func.count()).select_from(LabelRow)) != len(known):
                rows = session.scalars(select(LabelRow).order_by(LabelRow.number))
                known = self._told = [label_from(row) for row in rows]
        return known

    def preferences(
        self, round: int | None = None, *, votes: VoteRule = "majority", ties: bool = False
    ) -> list[Preference]:
        """Return the training items of one round's pairs, or of all, sorted by pair and annotator.

        Args:
            round: the round whose pairs count; None for all.
            votes: how vote counts are used (see `preference_of`).
            ties: also return the ties, with share 0.5.
        """
        pairs = {x.pair.id: x.pair for x in self.asked(round)}
        prompts = self.prompts()
        labels = [label for label in self.current_labels() if label.pair_id in pairs]
        items = (preference_of(label, pairs[label.pair_id], prompts, votes, ties) for label in labels)
        return [item for item in items if item is not None]

    def rounds_closed(self) -> int:
        """Return the number of closed rounds."""
        with transaction(self._engine) as session:
            return session.scalar(select(func.count()).where(RoundRow.round > 0)) or 0

    def known(self) -> Known:
        """Return the events in the record, to compare with those that the study's other files show."""
        with transaction(self._engine) as session:
            return known_to(session)

    # The recipe, and the files derived from the record

    def recipe(self) -> dict[str, Any] | None:
        """Return the study's current recipe; None before the first opening of an older study."""
        with transaction(self._engine) as session:
            content = session.scalar(select(RecipeRow.content).order_by(RecipeRow.number.desc()).limit(1))
            return None if content is None else dict(content)

    def keep_recipe(self, recipe: Mapping[str, Any]) -> None:
        """Record the study's current recipe."""
        with self._recording() as session:
            session.add(RecipeRow(content=dict(recipe), recorded_at=now()))

    def preferences_file(self) -> tuple[int, str] | None:
        """Return the label count at the last write of preferences.jsonl, and its digest; None if never written."""
        with transaction(self._engine) as session:
            row = session.scalar(select(PreferencesFileRow).order_by(PreferencesFileRow.number.desc()).limit(1))
            return None if row is None else (row.labels, row.digest)

    def preferences_digests(self) -> set[str]:
        """Return the digests of every version of preferences.jsonl that was written."""
        with transaction(self._engine) as session:
            return set(session.scalars(select(PreferencesFileRow.digest)))

    def preferences_written(self, labels: int, digest: str) -> None:
        """Record that preferences.jsonl was written from the first `labels` labels."""
        with self._recording() as session:
            session.add(PreferencesFileRow(labels=labels, digest=digest, recorded_at=now()))
