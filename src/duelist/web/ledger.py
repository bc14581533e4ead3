"""Append-only ledger of what people did. Everything else about the annotation is derived from it."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol

from duelist.errors import DuelistError

Kind = Literal[
    "shown",
    "voted",
    "undone",
    "skipped",
    "leased",
    "lease_ended",
    "imported",
    "adjudicated",
    "closed",
    "invited",
    "revoked",
    "paused",
    "overlap",
]


class EventConflictError(DuelistError, ValueError):
    """An event's id was appended again with different content. The event recorded first is kept."""


@dataclass(frozen=True)
class Event:
    """One act.

    Attributes:
        id: identifies the act. A client makes it for the acts it may have to send again; else the server does.
        kind: what was done.
        annotator: who did it, or whom it concerns; empty for what concerns everyone.
        question_id: the question; empty if none.
        at: when, UTC, ISO 8601. Information only: the order of events is that of their numbers.
        body: the rest, as JSON.
        number: position in the ledger, from 1; 0 until it is recorded.
    """

    id: str
    kind: Kind
    annotator: str = ""
    question_id: str = ""
    at: str = ""
    body: Mapping[str, Any] = field(default_factory=dict)
    number: int = 0

    @property
    def content(self) -> tuple[str, ...]:
        """What two events with the same id must share to be the same act: everything but time and number."""
        return self.kind, self.annotator, self.question_id, json.dumps(self.body, sort_keys=True)


@dataclass(frozen=True)
class Receipt:
    """A recorded event, and whether it had been recorded before."""

    event: Event
    duplicate: bool


class Ledger(Protocol):
    """Place where events are recorded, in one order, for good.

    `submit` may be called from any thread. If a write fails, the ledger refuses every later event until `recover`, so
    that nothing is recorded that was decided on the strength of an event that is not there.
    """

    def submit(self, events: Sequence[Event]) -> Future[list[Receipt]]:
        """Queue events that are recorded together or not at all. The future ends when they are safe on disk.

        The future raises `EventConflictError` if an event's id is recorded with other content, and `StorageError` if
        the events could not be written.
        """
        ...

    def recover(self) -> None:
        """Accept events again after a failed write. The caller has discarded what it derived from lost events."""
        ...

    def events(self, after: int = 0) -> list[Event]:
        """Return the recorded events whose number is greater than `after`, in order."""
        ...


def append(ledger: Ledger, events: Sequence[Event]) -> list[Receipt]:
    """Record events together, and return once they are safe on disk.

    Raises:
        EventConflictError: if an event's id is recorded with other content. Then none of the events is recorded.
        StorageError: if they cannot be written. Then none of the events is recorded.
    """
    return ledger.submit(events).result()
