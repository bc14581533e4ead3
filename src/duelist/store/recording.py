"""Recording of labels, answers and retractions, and which of them count."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace

from sqlalchemy import select
from sqlalchemy.orm import Session

from duelist.errors import DataError, LabelConflictError
from duelist.store.decisions import question_of, require_answer_to
from duelist.store.row_codecs import UNDONE, answer_from, answer_row
from duelist.store.tables import AnswerRow
from duelist.types import Answer, Label, Question, Retraction


def record_acts(session: Session, acts: Sequence[Label | Answer | Retraction], asked: Mapping[str, Question]) -> int:
    """Add acts that are not recorded yet to a transaction, and return their number.

    Args:
        session: the transaction, which the caller rolls back on an error.
        acts: what annotators did, in order.
        asked: the asked questions, by id.

    Raises:
        LabelConflictError: if an id is recorded with different content, or an annotator answers a question again
            without saying which answer it replaces.
        DataError: if an act is for a question that was never asked, does not answer it, or cannot be recorded.
    """
    new = 0
    for act in acts:
        row = session.scalars(select(AnswerRow).where(AnswerRow.id == act.id)).one_or_none()
        if row is not None:
            recorded, wrong = answer_from(row)
            if recorded != act:
                raise LabelConflictError(
                    f"A label's id stands for one act of labelling, but {act.id} is recorded as {recorded or wrong} "
                    f"and came again as {act}: give a changed decision a new id (a new `Label` without one has one of "
                    "its own). Nothing of this call was recorded."
                )
            continue
        if isinstance(act, Retraction):
            _require_retractable(session, act)
        else:
            require_answer_to(act, asked)
        if isinstance(act, Answer):
            _require_latest(session, act)
        session.add(answer_row(replace(act)))  # validated, because it may come from an old study
        session.flush()
        new += 1
    return new


def _require_latest(session: Session, answer: Answer) -> None:
    """Require that `answer` is the annotator's first to its question, or replaces the latest one."""
    own = select(AnswerRow).where(AnswerRow.question_id == answer.question_id, AnswerRow.annotator == answer.annotator)
    found = counting(answer_from(row)[0] for row in session.scalars(own.order_by(AnswerRow.number)))
    latest = next((x.id for x in found.values()), None)
    if answer.replaces != latest:
        raise LabelConflictError(
            f"An annotator answers a question once, but {answer.annotator!r} has "
            f"{'not answered' if latest is None else f'answered (id {latest})'} question {answer.question_id}, and "
            f"this answer has replaces={answer.replaces!r}: to change an answer, set `replaces` to the id of the one "
            "that counts now. Nothing of this call was recorded."
        )


def _require_retractable(session: Session, act: Retraction) -> None:
    """Require that a retraction takes back a label or answer of the same annotator to the same question."""
    row = session.scalar(select(AnswerRow).where(AnswerRow.id == act.retracts))
    own = row is not None and (row.question_id, row.annotator) == (act.question_id, act.annotator)
    if row is None or not own or row.outcome == UNDONE:
        raise DataError(
            f"A retraction must take back an own answer to the same question, but {act.retracts!r} is none of "
            f"{act.annotator!r} to {act.question_id}: give its id. Nothing of this call was recorded."
        )


def counting(acts: Iterable[Label | Answer | Retraction | None]) -> dict[tuple[str, str], Label | Answer]:
    """Return what counts of some acts in order of arrival, by question and annotator."""
    latest: dict[tuple[str, str], Label | Answer] = {}
    for act in acts:
        if act is None:  # an unusable row
            continue
        key = (question_of(act), act.annotator)
        if not isinstance(act, Retraction):
            latest[key] = act
        elif key in latest and latest[key].id == act.retracts:
            del latest[key]
    return latest
