"""The append-only record of a study.

Thread safety: every method is one transaction of its own and may be called from any thread. Legal transitions: a
stage is finished once, a batch is asked once per round, a round is closed once, in order; labels may come at any time
for any pair that was asked.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from duelist.errors import DataError, LabelConflictError, StorageError
from duelist.store.database import open_engine, transaction
from duelist.store.preferences import preference_of
from duelist.store.records import pair_from, response_from, response_json
from duelist.store.tables import LabelRow, PairRow, PromptRow, ResponseRow, RoundRow, StageRow
from duelist.types import Batch, Label, Pair, Preference, Prompt, Response, VoteRule, Votes

DATABASE = "study.db"


@dataclass(frozen=True)
class AskedPair:
    """A pair that was asked, and how it was chosen."""

    pair: Pair
    round: int
    position: int
    score: float
    unit: str
    margin: float


@dataclass(frozen=True)
class Stage:
    """A finished stage: the artifact's path within the study folder, its digest, and the seconds it took."""

    round: int
    name: str
    artifact: str
    digest: str
    seconds: float
    info: Mapping[str, Any]


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
            return None if row is None else _stage(row)

    def stages(self) -> list[Stage]:
        """All finished stages, in order of time."""
        with transaction(self._engine) as session:
            return [_stage(row) for row in session.scalars(select(StageRow).order_by(StageRow.finished_at))]

    def finish_stage(self, stage: Stage, batch: Sequence[AskedPair] = (), prompts: Sequence[Prompt] = ()) -> None:
        """Record that a stage's artifact is in place, and with it the pairs it decided to ask, if any."""
        with transaction(self._engine, writes=True) as session:
            _add_batch(session, batch, prompts)
            session.add(
                StageRow(
                    round=stage.round,
                    stage=stage.name,
                    artifact=stage.artifact,
                    digest=stage.digest,
                    seconds=stage.seconds,
                    info=dict(stage.info),
                    finished_at=_now(),
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
                known = self._asked = _read_asked(session)
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
                    if _label(row) != label:
                        raise LabelConflictError(
                            f"A label's id stands for one content, but {label.id} is recorded as {_label(row)} and "
                            f"came again as {label}: give a changed decision a new id. Nothing of this call was "
                            "recorded."
                        )
                    continue
                if session.get(PairRow, label.pair_id) is None:
                    raise DataError(
                        f"A label must be for a pair that was asked, but {label.pair_id!r} never was: take pair ids "
                        "from `Study.ask()`. Nothing of this call was recorded."
                    )
                session.add(_label_row(label))
                session.flush()
                new += 1
        return new

    def labels(self) -> list[Label]:
        """Every label ever recorded, in order of arrival."""
        with transaction(self._engine) as session:
            return [_label(row) for row in session.scalars(select(LabelRow).order_by(LabelRow.number))]

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
                moment, tie = (_utc(row.time), row.id) if row.time else (row.recorded_at, "")
                entry = (moment, tie, row.number, _label(row))
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


def _read_asked(session: Session) -> list[AskedPair]:
    """All pairs that were asked, in pick order."""
    responses = {r.id: _response(r) for r in session.scalars(select(ResponseRow))}
    return [
        AskedPair(
            pair_from(_pair_json(r), responses),
            r.round,
            r.position,
            r.score,
            r.unit,
            r.margin,
        )
        for r in session.scalars(select(PairRow).order_by(PairRow.round, PairRow.position))
    ]


def _pair_json(row: PairRow) -> dict[str, Any]:
    origins = {} if row.drawn_a is None else {"drawn_from": (row.drawn_a, row.drawn_b)}
    return {"id": row.id, "a": row.a, "b": row.b, "round": row.round, "weight": row.weight, **origins}


def _add_batch(session: Session, batch: Sequence[AskedPair], prompts: Sequence[Prompt]) -> None:
    if not batch and not prompts:
        return
    known = {*session.scalars(select(PromptRow.id)), *session.scalars(select(ResponseRow.id))}
    for prompt in prompts:
        if prompt.id not in known:
            messages = [dict(m) for m in prompt.messages]
            session.add(PromptRow(id=prompt.id, messages=messages, plain=prompt.plain, columns=dict(prompt.columns)))
    session.flush()
    for response in {r.id: r for x in batch for r in (x.pair.a, x.pair.b)}.values():
        if response.id not in known:
            session.add(ResponseRow(**response_json(response)))
    session.flush()
    for x in batch:
        session.add(
            PairRow(
                id=x.pair.id,
                a=x.pair.a.id,
                b=x.pair.b.id,
                round=x.round,
                position=x.position,
                score=x.score,
                unit=x.unit,
                margin=x.margin,
                weight=x.pair.weight,
                drawn_a=x.pair.a.drawn_from,
                drawn_b=x.pair.b.drawn_from,
            )
        )
    session.flush()


def _stage(row: StageRow) -> Stage:
    return Stage(row.round, row.stage, row.artifact, row.digest, row.seconds, row.info)


def _response(row: ResponseRow) -> Response:
    names = ("id", "prompt_id", "text", "prompt_token_ids", "token_ids", "drawn_from", "round")
    return response_from({name: getattr(row, name) for name in names})


def _label(row: LabelRow) -> Label:
    votes = None if row.n_a is None or row.n_b is None else Votes(row.n_a, row.n_b, row.n_eq or 0)
    fields: dict[str, Any] = {"outcome": row.outcome, "shown": row.shown}
    return Label(row.pair_id, row.annotator, id=row.id, seconds=row.seconds, time=row.time, votes=votes, **fields)


def _label_row(label: Label) -> LabelRow:
    if label.time is not None:
        _utc(label.time)
    votes = label.votes
    return LabelRow(
        id=label.id,
        pair_id=label.pair_id,
        annotator=label.annotator,
        outcome=label.outcome,
        seconds=label.seconds,
        shown=label.shown,
        time=label.time,
        n_a=votes and votes.n_a,
        n_b=votes and votes.n_b,
        n_eq=votes and votes.n_eq,
        recorded_at=_now(),
    )


def _utc(time: str) -> str:
    try:
        moment = datetime.fromisoformat(time)
        if moment.tzinfo is not None:
            return moment.astimezone(UTC).isoformat(timespec="microseconds")
    except (ValueError, OverflowError) as error:
        raise DataError(f"A label's time must be ISO 8601 (2026-01-31T12:00:00+00:00), but got {time!r}.") from error
    raise DataError(f"A label's time must say its time zone (2026-01-31T12:00:00+00:00), but got {time!r}.")


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="microseconds")
