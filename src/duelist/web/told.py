"""Answers in a file, as `duelist tell` reads them: one JSON object a line."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, ValidationError

from duelist.answers import EXPECTED
from duelist.data.sources import RowSource
from duelist.errors import DataError
from duelist.store.decisions import require_answer_to
from duelist.types import Answer, Label, Question, content_id


class Row(BaseModel):
    """One answer. Without an `id`, it gets one that follows from its content, so a file may be told again."""

    model_config = ConfigDict(extra="forbid", strict=True)

    pair_id: str | None = None
    question_id: str | None = None
    annotator: str
    outcome: str | None = None
    ranking: list[str | list[str]] | None = None
    best: str | None = None
    worst: str | None = None
    stopped: bool = False
    better: str | None = None
    id: str | None = None
    seconds: float | None = None
    shown: Literal["ab", "ba"] | list[str] | None = None
    time: str | None = None


def read_told(path: Path, questions: Mapping[str, Question]) -> list[tuple[str, Label | Answer]]:
    """Return the answers of a file, each with its line in words.

    Args:
        path: a file that ends in .jsonl.
        questions: the asked questions, by id.

    Raises:
        DataError: if the file cannot be read, or a line is no answer to a question that was asked; it names the line.
    """
    if not path.is_file():
        raise DataError(f"Answers are told from a file, but there is none at {path}: correct the path.")
    found = [(where, _answer(row, where, questions)) for where, row in RowSource(str(path))]
    if not found:
        raise DataError(f"A file of answers must have one in each line, but {path} has none: correct the path.")
    return found


def _answer(content: Mapping[str, Any], where: str, questions: Mapping[str, Question]) -> Label | Answer:
    try:
        row = Row.model_validate(dict(content))
    except ValidationError as error:
        first = error.errors()[0]
        field = ".".join(map(str, first["loc"][:1]))
        known = ", ".join(Row.model_fields)
        raise DataError(
            f"An answer must have the fields of {known}, but in {where}, `{field}`: {first['msg']}. Correct it; "
            "nothing was recorded."
        ) from error
    given = [x for x in (row.pair_id, row.question_id) if x is not None]
    if len(given) != 1 or given[0] not in questions:
        what = f"{given[0]!r} was never asked" if len(given) == 1 else f"it has {len(given)} of them"
        raise DataError(
            f"An answer must have `pair_id` or `question_id`, that of an asked question, but in {where}, {what}: take "
            "it from `duelist export --format jsonl`. Nothing was recorded."
        )
    question = questions[given[0]]
    try:
        answer = _label(row, question) if question.k == 2 else _larger(row, question)
        require_answer_to(answer, questions)
    except DataError as error:
        raise DataError(f"In {where}: {error}") from error
    return answer


def _label(row: Row, pair: Question) -> Label:
    _only(row, ("outcome", "better"), pair)
    if row.outcome is None:
        raise DataError(f"Question {pair.id} needs {EXPECTED['pair']}, but got no `outcome`: add it.")
    shown: Any = row.shown
    if isinstance(shown, list):
        if sorted(shown) != sorted((pair.a.id, pair.b.id)):
            raise DataError(f"`shown` must be ab, ba, or the ids of both responses, but is {shown}: correct it.")
        shown = "ab" if shown == [pair.a.id, pair.b.id] else "ba"
    outcome: Any = row.outcome
    return Label(pair.id, row.annotator, outcome, _id(row), row.seconds, shown, row.time, better=row.better)


def _larger(row: Row, question: Question) -> Answer:
    _only(row, ("outcome", "ranking", "best", "worst", "stopped"), question)
    outcome: Any = row.outcome or "decided"
    return Answer(
        question.id,
        row.annotator,
        ranking=row.ranking or (),
        outcome=outcome,
        best=row.best,
        worst=row.worst,
        stopped=row.stopped,
        id=_id(row),
        seconds=row.seconds,
        shown=row.shown,
        time=row.time,
    )


def _only(row: Row, names: tuple[str, ...], question: Question) -> None:
    decisions = ("outcome", "ranking", "best", "worst", "stopped", "better")
    for name in decisions:
        if getattr(row, name) and name not in names:
            raise DataError(f"Question {question.id} needs {EXPECTED[question.asks]}, but got `{name}`: leave it out.")


def _id(row: Row) -> str:
    return row.id if row.id is not None else content_id("told", row.model_dump(mode="json", exclude={"id"}))
