"""Conversion between the database's rows and the records they represent."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from datetime import UTC, datetime
from typing import Any, cast

from sqlalchemy import select
from sqlalchemy.orm import Session

from duelist.answers import AnswerOutcome
from duelist.errors import DataError
from duelist.judgement import Judgement
from duelist.labels import OUTCOMES, recorded_label
from duelist.store.codecs import RESPONSE
from duelist.store.tables import AnswerRow, PromptRow, QuestionResponseRow, QuestionRow, ResponseRow, StageRow
from duelist.types import Answer, Label, Prompt, Question, QuestionType, Retraction, Votes

DRAWN = ("inclusion", "control", "propensity", "candidates_left")  # how a question came into its batch
UNDONE = "undone"  # the outcome in the row of a retraction
LABEL_CONTENT = ("better", "adjudicates", "judgement", "advisory")  # fields of a label without a column
# Fields of an answer without a column; a label has the last one too.
ANSWER_CONTENT = ("ranking", "best", "worst", "stopped", "shown", "replaces", "adjudicates")


@dataclass(frozen=True)
class AskedQuestion:
    """A question that was asked, and how it was selected.

    Attributes:
        question: the question.
        round: the round that asked it.
        position: its place in the batch, from 0.
        score: the rule's score, in `unit`.
        unit: what the score measures, in words.
        margin: under the model when it was asked: of a pair, r(a) − r(b); of a larger question, the largest difference.
        rewards: reward of each response under the same model; None for pairs asked by earlier versions.
        inclusion: probability with which it was asked, given the questions picked for certain (1); None for questions
            asked by earlier versions, and for pairs drawn by their gains.
        control: whether it is in the control slice, a uniform sample of the round's pool; so are pairs drawn at random
            before the rule begins. None for questions asked by earlier versions.
        propensity: with `acquisition.lure`, the probability of its draw, given the draws before it; None otherwise.
        candidates_left: likewise, the number of candidates that were left at its draw.
    """

    question: Question
    round: int
    position: int
    score: float
    unit: str
    margin: float
    rewards: tuple[float, ...] | None = None
    inclusion: float | None = None
    control: bool | None = None
    propensity: float | None = None
    candidates_left: int | None = None


@dataclass(frozen=True)
class Stage:
    """A finished stage: the artifact's path within the study folder, its digest, and the seconds it took."""

    round: int
    name: str
    artifact: str
    digest: str
    seconds: float
    info: Mapping[str, Any]


def read_asked(session: Session) -> list[AskedQuestion]:
    """Return all asked questions, in pick order."""
    responses = {r.id: RESPONSE.validate_python(vars(r)) for r in session.scalars(select(ResponseRow))}
    places: dict[str, list[QuestionResponseRow]] = {}
    for place in session.scalars(select(QuestionResponseRow).order_by(QuestionResponseRow.place)):
        places.setdefault(place.question_id, []).append(place)
    asked = []
    for r in session.scalars(select(QuestionRow).order_by(QuestionRow.round, QuestionRow.position)):
        own = places[r.id]
        origins = tuple(p.drawn_from for p in own if p.drawn_from)
        rewards = tuple(p.reward for p in own if p.reward is not None)
        question = Question(
            r.id,
            tuple(responses[p.response_id] for p in own),
            r.round,
            r.weight,
            origins if len(origins) == len(own) else None,
            cast(QuestionType, r.asks),
        )
        whole = rewards if len(rewards) == len(own) else None
        drawn = (r.inclusion, r.control, r.propensity, r.candidates_left)
        asked.append(AskedQuestion(question, r.round, r.position, r.score, r.unit, r.margin, whole, *drawn))
    return asked


def add_batch(session: Session, batch: Sequence[AskedQuestion], prompts: Sequence[Prompt]) -> None:
    """Add asked questions, with those of their prompts and responses that are not recorded yet."""
    if not batch and not prompts:
        return
    known = {*session.scalars(select(PromptRow.id)), *session.scalars(select(ResponseRow.id))}
    for prompt in prompts:
        if prompt.id not in known:
            messages = [dict(m) for m in prompt.messages]
            session.add(PromptRow(id=prompt.id, messages=messages, plain=prompt.plain, columns=dict(prompt.columns)))
    session.flush()
    for response in {r.id: r for x in batch for r in x.question.responses}.values():
        if response.id not in known:
            session.add(ResponseRow(**RESPONSE.dump_python(response, mode="json")))
    session.flush()
    for x in batch:
        names = ("round", "position", "score", "unit", "margin", *DRAWN)
        own = {name: getattr(x, name) for name in names}
        session.add(QuestionRow(id=x.question.id, asks=x.question.asks, weight=x.question.weight, **own))
    session.flush()
    for x in batch:
        nothing = [None] * x.question.k
        numbers = zip(x.question.responses, x.question.drawn_from or nothing, x.rewards or nothing, strict=True)
        for place, (response, origin, reward) in enumerate(numbers):
            session.add(
                QuestionResponseRow(
                    question_id=x.question.id, place=place, response_id=response.id, drawn_from=origin, reward=reward
                )
            )
    session.flush()


def stage_from(row: StageRow) -> Stage:
    """Return a finished stage from its row."""
    return Stage(row.round, row.stage, row.artifact, row.digest, row.seconds, row.info)


def stage_row(stage: Stage) -> StageRow:
    """Return the row of a stage that is finished now."""
    return StageRow(
        round=stage.round,
        stage=stage.name,
        artifact=stage.artifact,
        digest=stage.digest,
        seconds=stage.seconds,
        info=dict(stage.info),
        finished_at=now(),
    )


def answer_from(row: AnswerRow) -> tuple[Label | Answer | Retraction | None, str]:
    """Return a label, an answer or a retraction from its row.

    Returns:
        The decision, None if it cannot be used; and what is wrong with the row, in words, or "".
    """
    if row.content is None or row.content.keys() <= set(LABEL_CONTENT):
        return _label_from(row)
    if row.outcome == UNDONE:
        return Retraction(row.question_id, row.annotator, str(row.content["retracts"]), row.id), ""
    try:
        return Answer(
            row.question_id,
            row.annotator,
            id=row.id,
            outcome=cast(AnswerOutcome, row.outcome),
            seconds=row.seconds,
            time=row.time,
            **{name: row.content[name] for name in ANSWER_CONTENT if name in row.content},
        ), ""
    except (DataError, TypeError) as error:
        return None, f"answer {row.number} is left out, for it cannot be used: {error}"


def _label_from(row: AnswerRow) -> tuple[Label | None, str]:
    """Return a label from its row, without validation, so labels of earlier versions keep all usable values.

    Returns:
        The label, None if its decision cannot be used; and what is wrong with the row, in words, or "". Fields outside
        the decision (seconds, shown, time) are None if they cannot be used.
    """
    # An earlier version may have recorded other types than declared: SQLite keeps any value in any column.
    aside = ("votes", *LABEL_CONTENT)
    names = {f.name: "question_id" if f.name == "pair_id" else f.name for f in fields(Label) if f.name not in aside}
    values: dict[str, Any] = {name: getattr(row, column) for name, column in names.items()}
    content = row.content or {}
    values |= {"better": content.get("better"), "adjudicates": content.get("adjudicates", False)}
    values["advisory"] = content.get("advisory", False)
    judged = content.get("judgement")
    values["judgement"] = None if judged is None else Judgement.from_json(judged)
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


def answer_row(answer: Label | Answer | Retraction) -> AnswerRow:
    """Return the row of a label, an answer or a retraction, recorded now."""
    if isinstance(answer, Retraction):
        same = {"id": answer.id, "question_id": answer.question_id, "annotator": answer.annotator}
        return AnswerRow(outcome=UNDONE, content={"retracts": answer.retracts}, recorded_at=now(), **same)
    same = {name: getattr(answer, name) for name in ("id", "annotator", "outcome", "seconds", "time")}
    if isinstance(answer, Answer):
        content = {name: getattr(answer, name) for name in ANSWER_CONTENT}
        return AnswerRow(question_id=answer.question_id, content=content, recorded_at=now(), **same)
    votes = answer.votes
    counts = {name: votes and getattr(votes, name) for name in ("n_a", "n_b", "n_eq")}
    own = {**counts, "shown": answer.shown, "content": _label_content(answer)}
    return AnswerRow(question_id=answer.pair_id, recorded_at=now(), **own, **same)


def _label_content(label: Label) -> dict[str, Any] | None:
    content: dict[str, Any] = {name: value for name in LABEL_CONTENT if (value := getattr(label, name))}
    if label.judgement is not None:
        content["judgement"] = label.judgement.as_json()
    return content or None


def now() -> str:
    """Return the current time, in UTC."""
    return datetime.now(UTC).isoformat(timespec="microseconds")
