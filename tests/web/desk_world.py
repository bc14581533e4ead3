"""A desk without a study: made-up questions, a clock that stands still, a ledger in memory, and a page's acts."""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

from duelist.web.assignment import DeskSettings
from duelist.web.desk import Desk
from duelist.web.items import Asks, GoldItem, Insight, Item, ItemMessage, ItemResponse, OpenBatch, Phase, Standing
from duelist.web.journal import Journal
from duelist.web.ledger import Event, EventConflictError, Ledger, Receipt
from duelist.web.tasks import Task

START = datetime(2026, 1, 31, 12, tzinfo=UTC)


class Clock:
    """A clock that moves when told."""

    def __init__(self) -> None:
        self.now = START

    def __call__(self) -> datetime:
        return self.now

    def forward(self, seconds: float) -> None:
        self.now += timedelta(seconds=seconds)


class MemoryLedger:
    """The ledger's contract in a dozen lines, as an oracle and for speed."""

    def __init__(self) -> None:
        self.recorded: list[Event] = []

    def submit(self, events: Sequence[Event]) -> Future[list[Receipt]]:
        done: Future[list[Receipt]] = Future()
        known = {e.id: e for e in self.recorded}
        if clash := [e.id for e in events if e.id in known and known[e.id].content != e.content]:
            done.set_exception(EventConflictError(f"{clash} recorded with other content"))
            return done
        fresh = [e for e in events if e.id not in known]
        numbered = [replace(e, number=len(self.recorded) + i) for i, e in enumerate(fresh, 1)]
        self.recorded += numbered
        done.set_result([Receipt(e, False) for e in numbered])
        return done

    def recover(self) -> None:
        raise AssertionError("memory does not fail")

    def events(self, after: int = 0) -> list[Event]:
        return [e for e in self.recorded if e.number > after]


@dataclass
class FakeSource:
    """A study that stands where the test says."""

    name: str = "made-up"
    phase: Phase = "training"
    insights: Insight = field(default_factory=Insight)

    def standing(self) -> Standing:
        return Standing(self.phase, 1, 4, 96)

    def insight(self) -> Insight:
        return self.insights


def item(name: str, asks: Asks = "pair", k: int = 2, text: str = "answer") -> Item:
    """A question with k responses."""
    responses = tuple(ItemResponse(f"{name}-{letter}", f"{text} {letter}") for letter in "abcdefgh"[:k])
    return Item(name, asks, (ItemMessage("user", f"Question {name}?"),), responses)


def batch(round: int, size: int, asks: Asks = "pair", k: int = 2) -> OpenBatch:
    """A batch of made-up questions."""
    return OpenBatch(round, tuple(item(f"r{round}q{i}", asks, k) for i in range(size)))


def gold(name: str) -> GoldItem:
    """A gold question whose response a is right."""
    return GoldItem(item(name), "prefer", chosen=f"{name}-a")


def desk_with(
    size: int = 3,
    settings: DeskSettings | None = None,
    ledger: Ledger | None = None,
    clock: Clock | None = None,
    gold: Sequence[GoldItem] = (),
    source: FakeSource | None = None,
) -> Desk:
    """A desk with an open batch."""
    desk = Desk(Journal(ledger or MemoryLedger(), clock or Clock()), source or FakeSource(), settings, gold)
    if size:
        desk.rounds.open(batch(1, size))
    return desk


def uuid(rng: random.Random) -> str:
    """An id as a page makes it."""
    return str(UUID(int=rng.getrandbits(128), version=4))


_IDS = random.Random(0)


def act(task: Task, outcome: str = "prefer", chosen: str = "", **changes: Any) -> dict[str, Any]:
    """An answer as the page sends it; the response displayed first wins unless another is chosen."""
    return answer_to(task.lease.id, task.item.id, task.lease.shown, outcome, chosen) | changes


def answer_to(
    task_id: str, question_id: str, shown: Sequence[str], outcome: str = "prefer", chosen: str = ""
) -> dict[str, Any]:
    """An answer as the page sends it."""
    return {
        "act_id": uuid(_IDS),
        "task_id": task_id,
        "question_id": question_id,
        "shown": list(shown),
        "outcome": outcome,
        "chosen": (chosen or shown[0]) if outcome == "prefer" else None,
        "ranking": None,
        "stopped": False,
        "best": None,
        "worst": None,
        "placed": [],
        "active_seconds": 12.5,
        "idle_seconds": 0.0,
        "strength": None,
        "reasons": [],
        "comment": "",
        "better": None,
    }


def task_of(found: object) -> Task:
    """The task that a desk gave; a test that gets none fails here."""
    assert isinstance(found, Task), found
    return found


def answers(desk: Desk, round: int = 1) -> Mapping[str, list[str]]:
    """Who answered each question of a round."""
    by: dict[str, list[str]] = {}
    for a in desk.rounds.acts(round):
        by.setdefault(a.question_id, []).append(a.annotator)
    return by
