"""Labels: one annotator's decision on one pair, validated on creation because the record is permanent."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, fields
from datetime import UTC, datetime
from typing import Any, Literal
from uuid import uuid4

import numpy as np

from duelist.errors import DataError
from duelist.judgement import Judgement

Outcome = Literal["a", "b", "tie", "skip", "both_bad", "both_good", "inconsistent", "unparsed"]
# Of a person, and of a judge: its verdicts differ between the two orders, or one of them is not usable.
PEOPLE_OUTCOMES: tuple[Outcome, ...] = ("a", "b", "tie", "skip", "both_bad", "both_good")
JUDGE_OUTCOMES: tuple[Outcome, ...] = ("inconsistent", "unparsed")
OUTCOMES: tuple[Outcome, ...] = (*PEOPLE_OUTCOMES, *JUDGE_OUTCOMES)
_MOST_VOTES = 2**63  # SQLite's integers are smaller
_A_TIME = "2026-01-31T12:00:00+00:00"


@dataclass(frozen=True)
class Votes:
    """Vote counts of a label: people who chose a, chose b, or called the two equal, if a data set has counts only."""

    n_a: int
    n_b: int
    n_eq: int = 0


@dataclass(frozen=True)
class Label:
    """One annotator's decision on one pair. Only `a` and `b` are preferences; other outcomes are recorded unchanged.

    NumPy scalars are converted to Python numbers and text, and a `datetime` to ISO 8601 text.

    Args:
        pair_id: the pair decided on.
        annotator: who decided.
        outcome: the decision.
        id: identifies one act of labelling. A label with the same id and the same content is the same act. If empty,
            the label gets a new id, so two labels are two acts even with the same content.
        seconds: time spent, in seconds; None if not measured.
        shown: the order in which the two responses were shown, `"ab"` or `"ba"`; None if not known.
        time: when the label was given, ISO 8601 with time zone. Information only: the label that arrives last counts.
        votes: the vote counts of an aggregate label.
        better: a better answer that the annotator wrote, with the outcome `both_bad`. It makes two preferences.
        adjudicates: whether this decides a disputed pair: it is then trained on instead of the other labels.
        judgement: what a judge said in both orders; None for people and reward functions.
        advisory: whether this is only a judge's opinion on a pair that people decide: recorded, but not trained on.

    Raises:
        DataError: if a value cannot be recorded, or the outcome is `a` with fewer votes for a than for b, or `b` with
            fewer for b.
    """

    pair_id: str
    annotator: str
    outcome: Outcome
    id: str = ""
    seconds: float | None = None
    shown: Literal["ab", "ba"] | None = None
    time: str | None = None
    votes: Votes | None = None
    better: str | None = None
    adjudicates: bool = False
    judgement: Judgement | None = None
    advisory: bool = False

    def __post_init__(self) -> None:
        given = {f.name: plain(getattr(self, f.name)) for f in fields(self)}
        outcome, votes = _one_of("outcome", given["outcome"], OUTCOMES), _votes(given["votes"])
        checked = {
            "pair_id": checked_text("A label", "pair_id", given["pair_id"], "take it from `Study.ask()`"),
            "annotator": checked_text("A label", "annotator", given["annotator"], "name who decided"),
            "outcome": outcome,
            "id": uuid4().hex
            if given["id"] == ""
            else checked_text("A label", "id", given["id"], "leave it empty for a fresh one"),
            "seconds": checked_seconds("A label", given["seconds"]),
            "shown": None if given["shown"] is None else _one_of("shown", given["shown"], ("ab", "ba")),
            "time": checked_time("A label", given["time"]),
            "votes": votes,
            "better": None if self.better is None else checked_text("A label", "better", self.better, "leave it out"),
            "adjudicates": checked_truth("A label", "adjudicates", given["adjudicates"]),
            "judgement": self.judgement,
            "advisory": checked_truth("A label", "advisory", given["advisory"]),
        }
        if self.judgement is not None and not isinstance(self.judgement, Judgement):
            raise DataError(
                f"A label's judgement must be a `Judgement`, but got {self.judgement!r:.80}: make one, perhaps with "
                "`Judgement.from_json`."
            )
        if outcome in JUDGE_OUTCOMES and self.judgement is None:
            raise DataError(f"Outcome {outcome!r} is a judge's, but the label has no judgement: give it, or use skip.")
        if self.better is not None and outcome != "both_bad":
            raise DataError(f"A better answer belongs to outcome both_bad, but got outcome {outcome!r}: leave it out.")
        advantage = 0 if votes is None else votes.n_a - votes.n_b
        if votes is not None and ((outcome == "a" and advantage < 0) or (outcome == "b" and advantage > 0)):
            raise DataError(
                f"A label's outcome must not contradict its votes, but got {outcome!r} with {votes.n_a} votes for a "
                f"and {votes.n_b} for b: correct the outcome or the votes."
            )
        for name, value in checked.items():
            object.__setattr__(self, name, value)


def recorded_label(values: Mapping[str, Any]) -> Label:
    """Return a label as it was recorded, without validation, so labels of earlier versions stay readable.

    Args:
        values: every field of the label, by name.
    """
    label = object.__new__(Label)
    for field in fields(Label):
        object.__setattr__(label, field.name, values[field.name])
    return label


def plain(value: Any) -> Any:
    """Convert a NumPy scalar to Python's own type; return other values unchanged."""
    return value.item() if isinstance(value, np.generic) else value


def checked_text(whose: str, name: str, value: Any, remedy: str) -> str:
    """Return `value` as plain text.

    Raises:
        DataError: if it is not text, is empty, or is no valid Unicode; the message names `whose` field `name` it is.
    """
    if not isinstance(value, str) or not value.strip():
        raise DataError(f"{whose}'s {name} must be text that is not empty, but got {value!r}: {remedy}.")
    text = str.__str__(value)  # a plain string, also from a text enumeration
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise DataError(
            f"{whose}'s {name} must be Unicode text, but {value!r} has half a surrogate pair at position "
            f"{error.start}: correct it."
        ) from error
    return text


def _one_of(name: str, value: Any, allowed: tuple[str, ...]) -> str:
    if not isinstance(value, str) or value not in allowed:
        raise DataError(f"A label's {name} must be one of {', '.join(allowed)}, but got {value!r}: correct it.")
    return str.__str__(value)


def checked_truth(whose: str, name: str, value: Any) -> bool:
    """Return a value that is true or false.

    Raises:
        DataError: if it is neither; the message names `whose` field `name` it is.
    """
    truth = plain(value)
    if not isinstance(truth, bool):
        raise DataError(f"{whose}'s `{name}` must be true or false, but got {value!r}: correct it.")
    return truth


def checked_seconds(whose: str, value: Any) -> float | None:
    """Return a time spent, in seconds; None if there is none.

    Raises:
        DataError: if it is not a finite number of 0 or more.
    """
    value = plain(value)
    if value is None:
        return None
    if isinstance(value, int | float) and not isinstance(value, bool):
        try:
            seconds = float(value)
        except OverflowError:
            seconds = math.inf
        if math.isfinite(seconds) and seconds >= 0:
            return seconds
    raise DataError(
        f"{whose}'s seconds must be a finite number of 0 or more, but got {value!r}: correct it, or leave it out where "
        "no time was measured."
    )


def _votes(value: Any) -> Votes | None:
    if value is None:
        return None
    counts = [plain(n) for n in (value.n_a, value.n_b, value.n_eq)] if isinstance(value, Votes) else []
    if not counts or not all(type(n) in (int, float) and 0 <= n < _MOST_VOTES and n % 1 == 0 for n in counts):
        raise DataError(
            f"A label's votes must be `Votes` with whole numbers of people, each 0 or more, but got {value!r}: correct "
            "them, or leave them out."
        )
    return Votes(*map(int, counts))


def checked_time(whose: str, value: Any) -> str | None:
    """Return a moment as ISO 8601 text with a time zone; None if there is none.

    Raises:
        DataError: if it is not such a moment.
    """
    if value is None:
        return None
    text = value.isoformat() if isinstance(value, datetime) else value
    try:
        moment = datetime.fromisoformat(text)
        if moment.tzinfo is not None:
            moment.astimezone(UTC)
            text.encode()  # fromisoformat accepts any character between date and time
            return str.__str__(text)
    except (TypeError, ValueError, OverflowError) as error:
        raise DataError(f"{whose}'s time must be ISO 8601 ({_A_TIME}), but got {value!r}: correct it.") from error
    raise DataError(f"{whose}'s time must say its time zone ({_A_TIME}), but got {value!r}: add it.")
