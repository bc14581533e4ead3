"""Append-only record of a study.

Thread safety: every method is a separate transaction and may be called from any thread. Legal transitions: a stage is
finished once, a batch is asked once per round, a round is closed once, in order; answers may arrive at any time for any
asked question.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from threading import RLock
from typing import Any

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from duelist.errors import DataError, RoundStateError, StorageError
from duelist.store.database import copy_of_database, database_files, open_engine, transaction, url_of
from duelist.store.decisions import decisions_of, question_of, without_outranked
from duelist.store.layout import DATABASE
from duelist.store.recording import counting, record_acts
from duelist.store.remains import Known, known_to
from duelist.store.row_codecs import (
    AskedQuestion,
    Stage,
    add_batch,
    answer_from,
    now,
    read_asked,
    stage_from,
    stage_row,
)
from duelist.store.tables import AnswerRow, PreferencesFileRow, PromptRow, QuestionRow, RecipeRow, RoundRow, StageRow
from duelist.types import Answer, Batch, Decision, Label, Prompt, Retraction, VoteRule


class Store:
    """Record of a study: the asked questions, the answers, and the finished stages."""

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
        self._asked: list[AskedQuestion] = []
        self._prompts: dict[str, Prompt] = {}
        self._told: list[tuple[Label | Answer | Retraction | None, str]] = []

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

    def finish_stage(
        self,
        stage: Stage,
        batch: Sequence[AskedQuestion] = (),
        prompts: Sequence[Prompt] = (),
        labels: Sequence[Label] = (),
    ) -> None:
        """Record that a stage's artifact is in place, together with the questions it selected or labelled, if any."""
        asked = {x.question.id: x.question for x in self.asked()} if labels else {}
        with self._recording() as session:
            add_batch(session, batch, prompts)
            record_acts(session, labels, asked)
            session.add(stage_row(stage))

    def add_known(
        self,
        batch: Sequence[AskedQuestion],
        prompts: Sequence[Prompt],
        labels: Sequence[Label],
        stage: Stage | None = None,
    ) -> int:
        """Record questions of round 0 together with their labels, and the stage that read them, if any.

        Returns:
            The number of new labels.
        """
        questions = {x.question.id: x.question for x in (*self.asked(), *batch)}
        with self._recording() as session:
            add_batch(session, batch, prompts)
            if stage is not None:
                session.add(stage_row(stage))
            return record_acts(session, labels, questions)

    def close_round(self, round: int, metrics: Mapping[str, Any]) -> None:
        """Record a round's metrics, which closes the round. A closed round never changes."""
        with self._recording() as session:
            if session.get(RoundRow, round) is None:
                session.add(RoundRow(round=round, metrics=dict(metrics)))

    def metrics(self) -> list[dict[str, Any]]:
        """Return the metrics of every closed round, in order; the first is the initial model's."""
        with transaction(self._engine) as session:
            return [dict(row.metrics) for row in session.scalars(select(RoundRow).order_by(RoundRow.round))]

    # Questions that were asked

    def asked(self, round: int | None = None) -> list[AskedQuestion]:
        """Return the questions asked in one round, or in all, in pick order."""
        with transaction(self._engine) as session:
            known = self._asked
            if session.scalar(select(func.count()).select_from(QuestionRow)) != len(known):
                known = self._asked = read_asked(session)
        return [x for x in known if round is None or x.round == round]

    def batch(self, round: int) -> Batch:
        """Return the batch asked in a round."""
        asked = self.asked(round)
        prompts = self.prompts()
        needed = {r.prompt_id: prompts[r.prompt_id] for x in asked for r in x.question.responses}
        unit = asked[-1].unit if asked else "none"
        return Batch(round, tuple(x.question for x in asked), needed, tuple(x.score for x in asked), unit)

    def prompts(self) -> dict[str, Prompt]:
        """Return the prompts of all asked questions, by id."""
        with transaction(self._engine) as session:
            known = self._prompts
            if session.scalar(select(func.count()).select_from(PromptRow)) != len(known):
                rows = session.scalars(select(PromptRow))
                known = self._prompts = {r.id: Prompt(r.id, tuple(r.messages), r.plain, r.columns) for r in rows}
        return dict(known)

    # Answers: labels of pairs, and answers to larger questions

    def add_answers(self, answers: Sequence[Label | Answer | Retraction]) -> int:
        """Record labels, answers and retractions, all or none; skip those already recorded with the same content.

        Returns:
            The number of new ones.

        Raises:
            LabelConflictError: if an id is recorded with different content, or an annotator answers a question again
                without saying which answer it replaces.
            DataError: if one is for a question that was never asked, does not answer it, or cannot be recorded.
            RoundStateError: if the store is closed.
        """
        answers = list(answers) if isinstance(answers, Iterable) else answers
        if not isinstance(answers, list) or not all(isinstance(x, Label | Answer | Retraction) for x in answers):
            raise DataError(
                f"Labels must be a list of `duelist.Label`, and answers to questions of three or more responses "
                f"`duelist.Answer`, but got {answers!r}: put such labels in a list."
            )
        asked = {x.question.id: x.question for x in self.asked()}
        with self._recording() as session:
            return record_acts(session, answers, asked)

    def acts(self) -> list[Label | Answer | Retraction]:
        """Return every label, answer and retraction ever recorded, in order of arrival, except the unusable ones."""
        return [act for act, _ in self._read_answers() if act is not None]

    def answers(self) -> list[Label | Answer]:
        """Return every label and answer ever recorded, in order of arrival, except the unusable ones."""
        return [act for act in self.acts() if not isinstance(act, Retraction)]

    def labels(self) -> list[Label]:
        """Return every label ever recorded, in order of arrival, except the unusable ones (`damaged_labels`)."""
        return [x for x in self.answers() if isinstance(x, Label)]

    def damaged_labels(self) -> list[str]:
        """Return the problems in labels recorded by earlier versions, one line each; the labels stay recorded."""
        return [wrong for _, wrong in self._read_answers() if wrong]

    def answer_count(self) -> int:
        """Return the number of labels and answers ever recorded."""
        with transaction(self._engine) as session:
            return session.scalar(select(func.count()).select_from(AnswerRow)) or 0

    def current_answers(self, *, advisory: bool = False) -> list[Label | Answer]:
        """Return what counts for each question and annotator (the latest to arrive), sorted by both.

        An answer's own time does not matter, because clocks can be set back. A label that a cascade's judge gave counts
        until a person decides the pair.

        Args:
            advisory: also return judges' labels that are not trained on: advisory ones (`Label.advisory`), and those on
                pairs that a person decided as well.
        """
        latest = counting(self.acts())
        found = [latest[key] for key in sorted(latest)]
        if advisory:
            return found
        return without_outranked([x for x in found if not (isinstance(x, Label) and x.advisory)], self._prelabels())

    def current_labels(self, *, advisory: bool = False) -> list[Label]:
        """Return the label that counts for each pair and annotator (see `current_answers`), sorted by both."""
        return [x for x in self.current_answers(advisory=advisory) if isinstance(x, Label)]

    def answered(self) -> set[str]:
        """Return the ids of the questions that have an answer that counts, regardless of outcome."""
        return {question_of(x) for x in self.current_answers()}

    def _prelabels(self) -> set[str]:
        """Return the ids of the labels that a cascade's judge gave: of each pair, the first with a judgement."""
        with transaction(self._engine) as session:
            rounds = set(session.scalars(select(StageRow.round).where(StageRow.stage == "prelabel")))
        if not rounds:
            return set()
        first: dict[str, str] = {}
        for label in self.labels():
            if label.judgement is not None:
                first.setdefault(label.pair_id, label.id)
        return {first[x.question.id] for x in self.asked() if x.round in rounds and x.question.id in first}

    def _read_answers(self) -> list[tuple[Label | Answer | Retraction | None, str]]:
        with transaction(self._engine) as session:
            known = self._told
            if session.scalar(select(func.count()).select_from(AnswerRow)) != len(known):
                rows = session.scalars(select(AnswerRow).order_by(AnswerRow.number))
                known = self._told = [answer_from(row) for row in rows]
        return known

    def decisions(self, round: int | None = None, *, votes: VoteRule = "every", ties: bool = False) -> list[Decision]:
        """Return the training items of one round's questions, or of all, sorted by question and annotator.

        Args:
            round: the round whose questions count; None for all.
            votes: how several votes on a pair are used (see `decisions_of`).
            ties: also return the ties of pairs, with share 0.5.
        """
        questions = {x.question.id: x.question for x in self.asked(round)}
        prompts = self.prompts()
        answers = [x for x in self.current_answers() if question_of(x) in questions]
        return decisions_of(answers, questions, prompts, votes, ties)

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
