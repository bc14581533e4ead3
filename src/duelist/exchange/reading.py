"""Check of imported answers, row by row: what is new, what is recorded already, and what cannot be used."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from duelist.errors import DataError
from duelist.store.decisions import question_of, require_answer_to
from duelist.store.recording import counting
from duelist.types import Answer, Label, Question, Retraction

Act = Label | Answer | Retraction
# What reading a value ends in that is of another kind than the tool writes.
_ODD = (TypeError, AttributeError, LookupError, ValueError, OverflowError, RecursionError)
_REST = " Nothing of this call was recorded."


@dataclass(frozen=True)
class Problem:
    """A row that was left out.

    Attributes:
        where: its place in the file, in words.
        message: what was required, what was found, and the remedy.
    """

    where: str
    message: str

    def __str__(self) -> str:
        return f"{self.where}: {self.message}"


@dataclass(frozen=True)
class Row:
    """One answer of a file.

    Attributes:
        where: its place, in words.
        act: the answer, or why there is none.
        own_id: whether the id is that of one act in a study's own record, in which an annotator may answer again.
    """

    where: str
    act: Act | DataError
    own_id: bool = False


@dataclass
class Sifted:
    """Rows after the check.

    Attributes:
        new: the answers to record, in the file's order, with their places.
        repeated: number of rows that are recorded already.
        problems: the rows left out.
    """

    new: list[tuple[str, Act]] = field(default_factory=list)
    repeated: int = 0
    problems: list[Problem] = field(default_factory=list)


def row_of(where: str, make: Callable[[], Act], own_id: bool = False) -> Row:
    """Return a row with the answer that `make` returns, or its error, also where a value is of an unexpected kind."""
    try:
        return Row(where, make(), own_id)
    except DataError as error:
        return Row(where, error)
    except _ODD as error:
        return Row(where, _unreadable(error))


def rows_of(where: str, make: Callable[[], Iterable[Row]]) -> list[Row]:
    """Return the rows of an item with several answers, or one row with the error of taking it apart."""
    try:
        return list(make())
    except _ODD as error:
        return [Row(where, _unreadable(error))]


def _unreadable(error: Exception) -> DataError:
    return DataError(
        f"An answer must have the fields that its tool writes, but one is of another kind ({type(error).__name__}: "
        f"{str(error)[:80]}): export it again, or drop the row."
    )


def asked_question(question_id: Any, questions: Mapping[str, Question]) -> Question:
    """Return the asked question of this id.

    Raises:
        DataError: if it was never asked.
    """
    found = questions.get(question_id) if isinstance(question_id, str) else None
    if found is None:
        raise DataError(
            f"An answer must be to a question that this study asked, but {question_id!r} never was: check that the "
            "file belongs to this study, and that its ids are as `duelist export` wrote them."
        )
    return found


def sift(rows: Iterable[Row], recorded: Sequence[Act], questions: Mapping[str, Question]) -> Sifted:
    """Sort rows into new answers, repeated ones and problems.

    A row whose id is recorded with the same answer is repeated. So is one whose annotator has said the same of the
    question. An annotator who says something else than recorded, or answers twice in the file, is a problem: nobody
    but the annotator knows which answer is meant. Rows of a study's own record are acts, of which the last counts.

    Args:
        rows: the rows.
        recorded: the acts recorded so far, in order.
        questions: the asked questions, by id.
    """
    by_id = {act.id: act for act in recorded}
    current = counting(recorded)
    found, seen, given = Sifted(), dict[str, str](), dict[tuple[str, str], tuple[str, Act]]()
    for row in rows:
        try:
            if isinstance(row.act, DataError):
                raise row.act
            act = row.act
            if not isinstance(act, Retraction):
                asked_question(question_of(act), questions)
                require_answer_to(act, questions)
            if act.id in seen:
                raise DataError(f"This is the answer of {seen[act.id]} again (id {act.id}): drop one of the two rows.")
            seen[act.id] = row.where
            known = by_id.get(act.id)
            key = (question_of(act), act.annotator)
            if known is not None and known != act and (row.own_id or not _agree(known, act)):
                raise DataError(
                    f"Id {act.id} is recorded with another answer ({_said(known)}), and the row says {_said(act)}. An "
                    "answer that was changed in the tool is not taken over: `tell` it with a new id, or leave it out."
                )
            if not row.own_id and key in given:
                raise _answered_twice(act, *given[key])
            given[key] = (row.where, act)
            if known is not None:
                found.repeated += 1
            elif not row.own_id and key in current:
                _require_same(act, current[key])
                found.repeated += 1
            else:
                found.new.append((row.where, act))
        except DataError as error:
            found.problems.append(Problem(row.where, str(error).replace(_REST, "")))
    return found


def _answered_twice(act: Act, where: str, other: Act) -> DataError:
    if _decision(act) == _decision(other):
        return DataError(f"{act.annotator!r} gives the same answer in {where}: drop one of the two rows.")
    return DataError(
        f"{act.annotator!r} answers question {question_of(act)} twice: {_said(other)} in {where}, which is kept, and "
        f"{_said(act)} here. Keep the row that is meant."
    )


def _require_same(act: Act, recorded: Act) -> None:
    if _decision(act) != _decision(recorded):
        raise DataError(
            f"{act.annotator!r} has answered question {question_of(act)} with {_said(recorded)} (id {recorded.id}), "
            f"and the row says {_said(act)}: drop the row, or `tell` the changed answer."
        )


def _agree(one: Act, other: Act) -> bool:
    """Return whether two acts say the same; a tool may count more seconds when its annotator comes back."""
    same = (question_of(one), one.annotator) == (question_of(other), other.annotator)
    return same and type(one) is type(other) and _decision(one) == _decision(other)


def _decision(act: Act) -> tuple[Any, ...]:
    if isinstance(act, Label):
        return (act.outcome, act.votes, act.better)
    if isinstance(act, Answer):
        return (act.outcome, [sorted(group) for group in act.groups], act.best, act.worst, act.stopped)
    return (act.retracts,)


def _said(act: Act) -> str:
    if isinstance(act, Retraction):
        return "a retraction"
    if isinstance(act, Label) or act.outcome != "decided":
        return repr(act.outcome)
    return f"ranking {act.ranking}" if act.groups else f"best {act.best}, worst {act.worst}"
