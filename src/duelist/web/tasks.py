"""What the annotation desk returns."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from duelist.web.items import Item
from duelist.web.record import Lease, Purpose

Mode = Literal["annotate", "adjudicate"]
WaitReason = Literal["training", "others_labelling", "finished", "paused"]


@dataclass(frozen=True)
class Task:
    """A question that somebody has a lease on."""

    lease: Lease
    item: Item


@dataclass(frozen=True)
class Wait:
    """Nothing to answer now, and why."""

    reason: WaitReason
    retry_seconds: int = 5


@dataclass(frozen=True)
class Recorded:
    """What became of an act."""

    duplicate: bool
    counts: bool
    note: str


@dataclass(frozen=True)
class Undone:
    """The question of an act that was taken back, and the act as it had been sent."""

    task: Task
    previous: Mapping[str, Any]


@dataclass(frozen=True)
class ImportedAnswer:
    """An answer that was given elsewhere.

    Attributes:
        annotator: who answered.
        question_id: the question.
        answer_id: identifies the answer.
        sent: the answer, in the form of an act (`shown`, `outcome`, `chosen`, …). If its `order_known` is false, nobody
            knows in which order the responses were shown.
        purpose: `question`, or `adjudicate` if it decides a disputed question.
    """

    annotator: str
    question_id: str
    answer_id: str
    sent: Mapping[str, Any]
    purpose: Purpose = "question"


@dataclass(frozen=True)
class DeskProgress:
    """Progress of the open batch, and of one person; `mine` counts the person's acts in it."""

    batch: int
    batch_done: int
    mine: int
    budget_left: int
    round: int
    rounds: int
    seconds_median: float | None
