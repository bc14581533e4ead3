"""Answers to questions of three or more responses, validated on creation because the record is permanent.

A `Label` answers a question of two responses, an `Answer` one of three or more: a ranking, or the best, or the best and
the worst of them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal, cast
from uuid import uuid4

from duelist.errors import DataError
from duelist.labels import checked_seconds, checked_text, checked_time, checked_truth

QuestionType = Literal["pair", "best_of_k", "best_worst", "ranking"]
QUESTION_TYPES: tuple[QuestionType, ...] = ("pair", "best_of_k", "best_worst", "ranking")
AnswerOutcome = Literal["decided", "skip", "all_bad", "all_good"]
ANSWER_OUTCOMES: tuple[AnswerOutcome, ...] = ("decided", "skip", "all_bad", "all_good")
Groups = tuple[tuple[str, ...], ...]

# Rank of the responses that are below every ranked one, in an order that the annotator did not say.
REST = 127


@dataclass(frozen=True)
class Answer:
    """One annotator's answer to a question of three or more responses. One act has one id, and counts as one answer.

    Responses are named by their ids. Only the outcome `decided` says which responses are better; the others are
    recorded unchanged and never become a preference.

    Args:
        question_id: the question answered.
        annotator: who answered.
        ranking: for a `ranking`: the responses, best first; equally good ones in one inner sequence.
        outcome: `decided`, `skip`, `all_bad` or `all_good`.
        best: for `best_of_k` and `best_worst`: the best response.
        worst: for `best_worst`: the worst response.
        stopped: for a `ranking`: the annotator stopped early; the responses left out are below the ranked ones, in no
            known order. Otherwise a ranking must name every response.
        id: identifies one act, as that of a `Label`. If empty, the answer gets a new id.
        seconds: time spent, in seconds; None if not measured.
        shown: the responses in the order in which they were shown; None if not known.
        time: when the answer was given, ISO 8601 with time zone. Information only.
        replaces: the id of this annotator's earlier answer that this one replaces; required to answer again.
        adjudicates: whether this decides a disputed question: it is then trained on instead of the other answers.

    Raises:
        DataError: if a value cannot be recorded, or the answer contradicts itself.
    """

    question_id: str
    annotator: str
    ranking: Sequence[str | Sequence[str]] = ()
    outcome: AnswerOutcome = "decided"
    best: str | None = None
    worst: str | None = None
    stopped: bool = False
    id: str = ""
    seconds: float | None = None
    shown: Sequence[str] | None = None
    time: str | None = None
    replaces: str | None = None
    adjudicates: bool = False

    def __post_init__(self) -> None:
        if not isinstance(self.outcome, str) or self.outcome not in ANSWER_OUTCOMES:
            raise DataError(
                f"An answer's outcome must be one of {', '.join(ANSWER_OUTCOMES)}, but got {self.outcome!r}: correct "
                "it."
            )
        flags = {name: checked_truth("An answer", name, getattr(self, name)) for name in ("stopped", "adjudicates")}
        groups, best, worst = _groups(self.ranking), _optional(self.best), _optional(self.worst)
        named = [*(r for group in groups for r in group), *(r for r in (best, worst) if r is not None)]
        _require_distinct(named)
        if (self.outcome == "decided") != bool(named):
            raise DataError(
                "An answer names responses if and only if its outcome is `decided`, but got outcome "
                f"{self.outcome!r} and {len(named)} responses: give `ranking`, or `best` (and `worst`), or one of the "
                "outcomes skip, all_bad and all_good without them."
            )
        if groups and len(named) > sum(map(len, groups)):
            raise DataError("An answer has a `ranking`, or `best` and `worst`, but got both: leave one out.")
        if flags["stopped"] and not groups:
            raise DataError("Only a `ranking` can be stopped early, but this answer has none: leave `stopped` out.")
        if worst is not None and best is None:
            raise DataError("An answer with a `worst` response needs a `best` one, but got none: give it.")
        shown = None if self.shown is None else _shown(self.shown)
        values = {
            "question_id": checked_text("An answer", "question_id", self.question_id, "take it from `Study.ask()`"),
            "annotator": checked_text("An answer", "annotator", self.annotator, "name who decided"),
            "ranking": groups,
            "outcome": str.__str__(self.outcome),
            "best": best,
            "worst": worst,
            "id": uuid4().hex if self.id == "" else checked_text("An answer", "id", self.id, "leave it empty"),
            "seconds": checked_seconds("An answer", self.seconds),
            "shown": shown,
            "time": checked_time("An answer", self.time),
            "replaces": None
            if self.replaces is None
            else checked_text("An answer", "replaces", self.replaces, "give the id of the answer that counts now"),
            **flags,
        }
        for name, value in values.items():
            object.__setattr__(self, name, value)

    @property
    def groups(self) -> Groups:
        """The ranking as groups of equally good responses, best first."""
        return cast(Groups, self.ranking)


@dataclass(frozen=True)
class Retraction:
    """An annotator's act of taking an own label or answer back; until another comes, the question has none of theirs.

    Attributes:
        question_id: the question.
        annotator: who took it back.
        retracts: the id of the label or answer.
        id: identifies this act.

    Raises:
        DataError: if a value is no text.
    """

    question_id: str
    annotator: str
    retracts: str
    id: str

    def __post_init__(self) -> None:
        for name, value in vars(self).copy().items():
            object.__setattr__(self, name, checked_text("A retraction", name, value, "give it"))


def ranks_of(answer: Answer, asks: QuestionType, response_ids: Sequence[str]) -> tuple[int, ...] | None:
    """Return the rank of each response of the question; None if the outcome is not `decided`.

    Equally good responses have the same rank, 0 is best, and `REST` is below every ranked response. A best-and-worst
    answer has ranks 0 (best), 1 and 2 (worst).

    Raises:
        DataError: if the answer is not one of this type to this question; the message says what was expected.
    """
    known = list(response_ids)
    if answer.shown is not None and sorted(answer.shown) != sorted(known):
        raise DataError(
            f"`shown` must list the {len(known)} responses of question {answer.question_id} once each, but got "
            f"{list(answer.shown)}: give them in the order shown, or leave it out."
        )
    if answer.outcome != "decided":
        return None
    groups: Groups = answer.groups
    if asks == "best_of_k" and answer.best is not None and answer.worst is None:
        groups = ((answer.best,),)
    elif asks == "best_worst" and answer.best is not None and answer.worst is not None:
        rest = tuple(r for r in known if r not in (answer.best, answer.worst))
        groups = ((answer.best,), rest, (answer.worst,))
    elif asks != "ranking" or not groups:
        raise DataError(
            f"Question {answer.question_id} asks for {EXPECTED[asks]}, but got {_given(answer)}. Nothing of this call "
            "was recorded."
        )
    named = [r for group in groups for r in group]
    unknown = [r for r in named if r not in known]
    if unknown:
        raise DataError(
            f"An answer must name responses of its question, but {unknown[0]!r} is not one of question "
            f"{answer.question_id}: take the ids from `question.responses`. Nothing of this call was recorded."
        )
    missing = [r for r in known if r not in named]
    if missing and asks == "ranking" and not answer.stopped:
        raise DataError(
            f"A ranking must name all {len(known)} responses of question {answer.question_id}, but {missing[0]!r} is "
            "missing: add it, or set `stopped=True` if the annotator stopped early. Nothing of this call was recorded."
        )
    rank = {r: place for place, group in enumerate(groups) for r in group}
    return tuple(rank.get(r, REST) for r in known)


EXPECTED: dict[QuestionType, str] = {
    "pair": "a `Label` with outcome a, b, tie, skip, both_bad or both_good",
    "best_of_k": "an `Answer` with `best`",
    "best_worst": "an `Answer` with `best` and `worst`",
    "ranking": "an `Answer` with `ranking`",
}


def _given(answer: Answer) -> str:
    given = [f"`{name}`" for name in ("ranking", "best", "worst") if getattr(answer, name)]
    return f"an `Answer` with {' and '.join(given)}"


def _groups(ranking: Any) -> Groups:
    if isinstance(ranking, str) or not isinstance(ranking, Sequence):
        raise DataError(f"A ranking must be a list of response ids, best first, but got {ranking!r}: correct it.")
    groups = tuple((g,) if isinstance(g, str) else tuple(g) if isinstance(g, Sequence) else (g,) for g in ranking)
    if not all(groups):
        raise DataError("A ranking's groups must name at least one response each, but one is empty: leave it out.")
    return tuple(tuple(map(_response, group)) for group in groups)


def _response(value: Any) -> str:
    return checked_text("An answer", "response", value, "take the ids from `question.responses`")


def _optional(value: Any) -> str | None:
    return None if value is None else _response(value)


def _shown(value: Any) -> tuple[str, ...]:
    if isinstance(value, str) or not isinstance(value, Sequence):
        raise DataError(
            f"`shown` must list response ids in the order shown, but got {value!r}: correct it, or leave it out."
        )
    shown = tuple(map(_response, value))
    _require_distinct(shown)
    return shown


def _require_distinct(named: Sequence[str]) -> None:
    repeated = next((r for i, r in enumerate(named) if r in named[:i]), None)
    if repeated is not None:
        raise DataError(f"An answer must name a response once, but {repeated!r} comes twice: leave one out.")
