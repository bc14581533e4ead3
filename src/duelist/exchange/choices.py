"""The six choices that other tools offer for a pair, and the label that each gives."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal

from duelist.errors import DataError
from duelist.labels import Outcome
from duelist.types import Label, Question, content_id

# What a choice says, in displayed order: the first response is better, the second is, or an outcome. The texts are
# shown to people and come back in the tools' files.
CHOICES: Mapping[str, str] = {
    "Left is better": "left",
    "Right is better": "right",
    "Equally good": "tie",
    "Both bad": "both_bad",
    "Both good": "both_good",
    "Cannot tell": "skip",
}
SIDES = ("left", "right")


def label_of_choice(
    pair: Question,
    choice: Any,
    shown: Any,
    annotator: str,
    answer_id: str,
    seconds: Any = None,
    time: str | None = None,
) -> Label:
    """Return the label that a choice gives, with the displayed order that the tool's file holds.

    Args:
        pair: the question.
        choice: one of `CHOICES`, or its short name.
        shown: the ids of the two responses in displayed order, as the task holds them.
        annotator: who chose.
        answer_id: the label's id.
        seconds: time spent.
        time: when, ISO 8601.

    Raises:
        DataError: if the choice is none of these, or the order is not that of this pair's responses.
    """
    said = CHOICES.get(choice, choice) if isinstance(choice, str) else None
    if said not in CHOICES.values():
        raise DataError(
            f"A vote must be one of {', '.join(CHOICES)}, but is {choice!r}: use the configuration that `duelist "
            "export` writes, or correct the vote."
        )
    order = shown_order(pair, shown)
    outcome: Any = said
    if said in SIDES:
        outcome = "a" if (order == "ab") == (said == "left") else "b"
    named: Outcome = outcome
    return Label(pair.id, annotator, named, answer_id, seconds, order, time)


def shown_order(pair: Question, shown: Any) -> Literal["ab", "ba"]:
    """Return whether a was displayed first, from the ids in displayed order.

    Raises:
        DataError: if these are not the ids of the pair's responses, or the question is no pair.
    """
    ids = [r.id for r in pair.responses]
    given = list(shown) if isinstance(shown, Sequence) and not isinstance(shown, str) else [shown]
    if len(ids) != 2 or sorted(map(str, given)) != sorted(ids):
        raise DataError(
            f"A task must hold the ids of the {len(ids)} responses of question {pair.id} in displayed order, and of a "
            f"pair, but holds {given}: the side that won is not known. Export the questions again."
        )
    return "ab" if given == ids else "ba"


def answer_id(tool: str, *parts: Any) -> str:
    """Return a label id that follows from the tool's own ids, so that an import can be repeated."""
    return content_id(tool, *parts)
