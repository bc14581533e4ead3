"""The append-only record of a study.

Thread safety: every method is one transaction of its own and may be called from any thread. Legal transitions: a
stage is finished once, a batch is asked once per round, a round is closed once, in order; labels may come at any time
for any pair that was asked.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from sqlalchemy import func, select

from duelist.errors import DataError, LabelConflictError, StorageError
from duelist.store.database import open_engine, transaction
from duelist.store.layout import DATABASE
from duelist.store.preferences import preference_of
from duelist.store.rows import AskedPair, Stage, add_batch, in_utc, label_from, label_row, now, read_asked, stage_from
from duelist.store.tables import LabelRow, PairRow, PromptRow, RoundRow, StageRow
from duelist.types import Batch, Label, Preference, Prompt, VoteRule


class Store:
    """What happened in a study: what was asked, what was answered, which stages are done."""

    def __init__(self, folder: Path, *, migrate: bool = True) -> None:
        self.folder = folder
        if not migrate and not (folder / DATABASE).is_file():
            raise StorageError(  # SQLite itself would make an empty one
                f"A study's folder must hold a {DATABASE}, but {folder} has none: correct the path, or run the study."
            )
        self._engine = open_engine(f"sqlite:///{folder / DATABASE}", migrate=migrate)
        # What was read last. Pairs, prompts and labels are only ever added: as many rows are the same rows.
        self._asked: list[AskedPair] = []
        self._prompts: dict[str, Prompt] = {}
        self._current: tuple[int, list[Label]] = (0, [])  # how many labels were recorded then, and those that count

    def close(self) -> None:
        """Release the database's connections."""
        self._engine.dispose()

    # Stages and rounds

    def stage(self, round: int, name: str) -> Stage | None:
        """The stage, if it is finished."""
        with transaction(self._engine) as session:
            row = session.get(StageRow, (round, name))
            return None if row is None else stage_from(row)

    def stages(self) -> list[Stage]:
        """All finished stages, in order of time."""
        with transaction(self._engine) as session:
            return [stage_from(row) for row in session.scalars(select(StageRow).order_by(StageRow.finished_at))]

    def finish_stage(self, stage: Stage, batch: Sequence[AskedPair] = (), prompts: Sequence[Prompt] = ()) -> None:
        """Record that a stage's artifact is in place, and with it the pairs it decided to ask, if any."""
        with transaction(self._engine, writes=True) as session:
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
        """Record a round's metrics: the round is over. Once closed, it stays as it is."""
        with transaction(self._engine, writes=True) as session:
            if session.get(RoundRow, round) is None:
                session.add(RoundRow(round=round, metrics=dict(metrics)))

    def metrics(self) -> list[dict[str, Any]]:
        """The metrics of every closed round, in order; the first is the initial model's."""
        with transaction(self._engine) as session:
            return [dict(row.metrics) for row in session.scalars(select(RoundRow).order_by(RoundRow.round))]

    # Pairs that were asked

    def asked(self, round: int | None = None) -> list[AskedPair]:
        """The pairs asked in one round, or in all, in pick order."""
        with transaction(self._engine) as session:
            known = self._asked
            if session.scalar(select(func.count()).select_from(PairRow)) != len(known):
                known = self._asked = read_asked(session)
        return [x for x in known if round is None or x.round == round]

    def batch(self, round: int) -> Batch:
        """The batch asked in a round."""
        asked = self.asked(round)
        prompts = self.prompts()
        needed = {r.prompt_id: prompts[r.prompt_id] for x in asked for r in (x.pair.a, x.pair.b)}
        unit = asked[-1].unit if asked else "none"
        return Batch(round, tuple(x.pair for x in asked), needed, tuple(x.score for x in asked), unit)

    def prompts(self) -> dict[str, Prompt]:
        """The prompts of all pairs that were asked, by id."""
        with transaction(self._engine) as session:
            known = self._prompts
            if session.scalar(select(func.count()).select_from(PromptRow)) != len(known):
                rows = session.scalars(select(PromptRow))
                known = self._prompts = {r.id: Prompt(r.id, tuple(r.messages), r.plain, r.columns) for r in rows}
        return dict(known)

    # Labels

    def add_labels(self, labels: Sequence[Label]) -> int:
        """Record labels, all or none. One that is recorded already, with the same content, is passed over.

        Returns:
            How many were new.

        Raises:
            LabelConflictError: if a label's id is recorded with other content.
            DataError: if a label is for a pair that was never asked.
        """
        new = 0
        with transaction(self._engine, writes=True) as session:
            for label in labels:
                row = session.scalars(select(LabelRow).where(LabelRow.id == label.id)).one_or_none()
                if row is not None:
                    if label_from(row) != label:
                        raise LabelConflictError(
                            f"A label's id stands for one content, but {label.id} is recorded as {label_from(row)} and "
                            f"came again as {label}: give a changed decision a new id. Nothing of this call was "
                            "recorded."
                        )
                    continue
                if session.get(PairRow, label.pair_id) is None:
                    raise DataError(
                        f"A label must be for a pair that was asked, but {label.pair_id!r} never was: take pair ids "
                        "from `Study.ask()`. Nothing of this call was recorded."
                    )
                session.add(label_row(label))
                session.flush()
                new += 1
        return new

    def labels(self) -> list[Label]:
        """Every label ever recorded, in order of arrival."""
        with transaction(self._engine) as session:
            return [label_from(row) for row in session.scalars(select(LabelRow).order_by(LabelRow.number))]

    def current_labels(self) -> list[Label]:
        """The label that counts for each pair and annotator, sorted by both.

        The latest counts, by the time it was given (by the time it arrived, where none was given), so that labels may
        arrive in any order; of those given at the same time, the one with the greatest id.
        """
        latest: dict[tuple[str, str], tuple[str, str, int, Label]] = {}
        with transaction(self._engine) as session:
            recorded = session.scalar(select(func.count()).select_from(LabelRow)) or 0
            if self._current[0] == recorded:
                return list(self._current[1])
            for row in session.scalars(select(LabelRow)):
                moment, tie = (in_utc(row.time), row.id) if row.time else (row.recorded_at, "")
                entry = (moment, tie, row.number, label_from(row))
                key = (row.pair_id, row.annotator)
                if key not in latest or entry[:3] > latest[key][:3]:
                    latest[key] = entry
        self._current = (recorded, [latest[key][3] for key in sorted(latest)])
        return list(self._current[1])

    def answered(self) -> set[str]:
        """Ids of the pairs that have a label, of whatever outcome."""
        with transaction(self._engine) as session:
            return set(session.scalars(select(LabelRow.pair_id).distinct()))

    def preferences(
        self, round: int | None = None, *, votes: VoteRule = "majority", ties: bool = False
    ) -> list[Preference]:
        """What can be trained on, of one round's pairs or of all, sorted by pair and annotator.

        Args:
            round: the round whose pairs count; None for all.
            votes: what vote counts are worth (`preference_of`).
            ties: also give the ties, with share 0.5.
        """
        pairs = {x.pair.id: x.pair for x in self.asked(round)}
        prompts = self.prompts()
        labels = [label for label in self.current_labels() if label.pair_id in pairs]
        items = (preference_of(label, pairs[label.pair_id], prompts, votes, ties) for label in labels)
        return [item for item in items if item is not None]

    def rounds_closed(self) -> int:
        """How many rounds are closed."""
        with transaction(self._engine) as session:
            return session.scalar(select(func.count()).where(RoundRow.round > 0)) or 0
