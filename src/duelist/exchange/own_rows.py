"""This package's own rows back in: `duelist export --format csv` or `jsonl`, and the answers that `duelist tell` reads.

A row with an id is an act of the record that it was exported from. One without is an answer that somebody filled in.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

from duelist.errors import DataError
from duelist.exchange.reading import Act, Row, asked_question, row_of
from duelist.judgement import Judgement
from duelist.store.row_codecs import UNDONE
from duelist.types import Answer, Label, Question, Retraction, Votes, content_id

NEEDS, REMEDY = "A row needs `question_id` or `pair_id`", "add it"
_DECISION = ("outcome", "ranking", "best", "worst", "retracts")
_NAMED = ("ranking", "best", "worst", "shown", "replaces")  # fields of an answer to a larger question
_JSON = ("ranking", "shown", "judgement")  # JSON within a CSV file's cell
_COUNTS = ("n_a", "n_b", "n_eq")


def is_own(item: Any) -> bool:
    """Return whether an object is a row of this package."""
    return isinstance(item, Mapping) and bool({"pair_id", "question_id"} & item.keys())


def answers(where: str, item: Mapping[str, Any], questions: Mapping[str, Question]) -> Iterator[Row]:
    """Yield a row for each answer; a question without one gives none."""
    acts = item.get("labels", item.get("answers"))
    if isinstance(acts, list):
        for number, act in enumerate(acts, start=1):
            yield _row(f"answer {number} of {where}", act, questions, _question_id(item))
    elif any(item.get(name) for name in _DECISION):
        yield _row(where, item, questions, _question_id(item))


def _row(where: str, act: Any, questions: Mapping[str, Question], question_id: Any) -> Row:
    own_id = isinstance(act, Mapping) and bool(act.get("id"))
    return row_of(where, lambda: _act({**act, "question_id": question_id}, questions), own_id)


def _question_id(item: Mapping[str, Any]) -> Any:
    return item.get("pair_id", item.get("question_id"))


def _act(item: Mapping[str, Any], questions: Mapping[str, Question]) -> Act:
    question = asked_question(item["question_id"], questions)
    values = {k: _parsed(v) if k in _JSON else v for k, v in item.items() if v is not None}
    values["id"] = values.get("id") or content_id("imported", question.id, *(values.get(k) for k in sorted(values)))
    who = values.get("annotator", "")
    if values.get("outcome") == UNDONE:
        return Retraction(question.id, who, str(values.get("retracts", "")), values["id"])
    same: dict[str, Any] = {name: values.get(name) for name in ("id", "time")}
    same["seconds"] = _number(values.get("seconds"), "seconds")
    adjudicates = _flag(values.get("adjudicates"), "adjudicates")
    if question.k == 2:
        outcome, judged = values.get("outcome", ""), values.get("judgement")
        return Label(
            question.id,
            who,
            outcome,
            shown=_sides(values.get("shown"), question),
            votes=_votes(values),
            better=values.get("better"),
            judgement=None if judged is None else Judgement.from_json(judged),
            adjudicates=adjudicates,
            advisory=_flag(values.get("advisory"), "advisory"),
            **same,
        )
    named: dict[str, Any] = {name: values[name] for name in _NAMED if name in values}
    named["outcome"] = values.get("outcome") or "decided"
    stopped = _flag(values.get("stopped"), "stopped")
    return Answer(question.id, who, stopped=stopped, adjudicates=adjudicates, **named, **same)


def _sides(shown: Any, pair: Question) -> Any:
    """Return ab or ba, also from the ids of the responses in displayed order."""
    ids = [r.id for r in pair.responses]
    return "ab" if shown == ids else "ba" if shown == ids[::-1] else shown


def _parsed(value: Any) -> Any:
    """Return the value of a cell that holds JSON; other values as they are."""
    if not isinstance(value, str) or not value.startswith(("[", "{")):
        return value
    try:
        return json.loads(value)
    except ValueError as error:
        raise DataError(f"A list in a cell must be JSON, but is {value[:80]!r} ({error}): correct the cell.") from error


def _number(value: Any, name: str) -> Any:
    if not isinstance(value, str):
        return value
    try:
        return float(value)
    except ValueError as error:
        raise DataError(f"`{name}` must be a number, but is {value!r}: correct the cell.") from error


def _flag(value: Any, name: str) -> bool:
    if value in (None, "", False, "False", "FALSE", "false"):
        return False
    if value in (True, "True", "TRUE", "true"):
        return True
    raise DataError(f"`{name}` must be true or false, but is {value!r}: correct it.")


def _votes(values: Mapping[str, Any]) -> Votes | None:
    counts = values.get("votes") or {name: values[name] for name in _COUNTS if name in values}
    if not counts:
        return None
    if set(counts) != set(_COUNTS):
        raise DataError(f"Votes must be {', '.join(_COUNTS)}, but only {', '.join(counts)} are given: add the others.")
    return Votes(**{name: _number(counts[name], name) for name in _COUNTS})
