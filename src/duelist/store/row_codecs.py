"""Conversion between the database's rows and the records they represent."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session

from duelist.labels import OUTCOMES, recorded_label
from duelist.store.codecs import RESPONSE
from duelist.store.tables import LabelRow, PairRow, PromptRow, ResponseRow, StageRow
from duelist.types import Label, Pair, Prompt, Votes


@dataclass(frozen=True)
class AskedPair:
    """A pair that was asked, and how it was selected."""

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


def read_asked(session: Session) -> list[AskedPair]:
    """Return all asked pairs, in pick order."""
    responses = {r.id: RESPONSE.validate_python(vars(r)) for r in session.scalars(select(ResponseRow))}
    asked = []
    for r in session.scalars(select(PairRow).order_by(PairRow.round, PairRow.position)):
        origins = (r.drawn_a, r.drawn_b) if r.drawn_a and r.drawn_b else None
        pair = Pair(r.id, responses[r.a], responses[r.b], r.round, r.weight, origins)
        asked.append(AskedPair(pair, r.round, r.position, r.score, r.unit, r.margin))
    return asked


def add_batch(session: Session, batch: Sequence[AskedPair], prompts: Sequence[Prompt]) -> None:
    """Add asked pairs, with those of their prompts and responses that are not recorded yet."""
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
            session.add(ResponseRow(**RESPONSE.dump_python(response, mode="json")))
    session.flush()
    for x in batch:
        drawn_a, drawn_b = x.pair.drawn_from or (None, None)
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
                drawn_a=drawn_a,
                drawn_b=drawn_b,
            )
        )
    session.flush()


def stage_from(row: StageRow) -> Stage:
    """Return a finished stage from its row."""
    return Stage(row.round, row.stage, row.artifact, row.digest, row.seconds, row.info)


def label_from(row: LabelRow) -> tuple[Label | None, str]:
    """Return a label from its row, without validation, so labels of earlier versions keep all usable values.

    Returns:
        The label, None if its decision cannot be used; and what is wrong with the row, in words, or "". Fields outside
        the decision (seconds, shown, time) are None if they cannot be used.
    """
    # An earlier version may have recorded other types than declared: SQLite keeps any value in any column.
    values: dict[str, Any] = {f.name: getattr(row, f.name) for f in fields(Label) if f.name != "votes"}
    values["votes"] = None if row.n_a is None or row.n_b is None else Votes(row.n_a, row.n_b, row.n_eq or 0)
    number = isinstance(values["seconds"], int | float) and math.isfinite(values["seconds"])
    usable = {
        **{name: isinstance(values[name], str) for name in ("id", "pair_id", "annotator")},
        "outcome": values["outcome"] in OUTCOMES,
        "votes": all(isinstance(n, int) and n >= 0 for n in vars(values["votes"] or Votes(0, 0)).values()),
        "seconds": values["seconds"] is None or number,
        **{name: isinstance(values[name], str | None) for name in ("shown", "time")},
    }
    bad = [name for name, well in usable.items() if not well]
    wrong = ", ".join(f"{name} {values[name]!r}" for name in bad)
    if not set(bad) <= {"seconds", "shown", "time"}:
        return None, f"label {row.number} is left out, for it cannot be used: {wrong}"
    label = recorded_label(values | dict.fromkeys(bad))
    return label, f"label {row.number} counts without what cannot be used of it: {wrong}" if bad else ""


def label_row(label: Label) -> LabelRow:
    """Return a label's row, recorded now."""
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
        recorded_at=now(),
    )


def now() -> str:
    """Return the current time, in UTC."""
    return datetime.now(UTC).isoformat(timespec="microseconds")
