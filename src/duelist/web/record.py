"""Current state, derived from the ledger's events alone: who answered what, which acts were undone, open leases."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Literal

from duelist.web.items import Asks
from duelist.web.ledger import Event

Purpose = Literal["question", "gold", "repeat", "adjudicate"]
Role = Literal["annotator", "adjudicator", "owner"]
IMPORTED = "imported-"  # begins the id of the event of an answer that was given elsewhere


@dataclass(frozen=True)
class Lease:
    """A question given to one person to answer until it expires.

    Attributes:
        id: the lease's id, which the page knows as the task's id.
        annotator: the person.
        question_id: the question.
        round: the round that the person works in; acts can be undone until it is closed.
        purpose: why it was given.
        serial: 0, or 1 for a repeat, which has its own display order.
        asks: what the question asks.
        shown: the response ids in displayed order.
        expires_at: UTC, ISO 8601.
        ended: why it is over; empty while it is open.
    """

    id: str
    annotator: str
    question_id: str
    round: int
    purpose: Purpose
    serial: int
    asks: Asks
    shown: tuple[str, ...]
    expires_at: str
    ended: str = ""


@dataclass(frozen=True)
class Act:
    """One answer as it was sent, and what became of it.

    Attributes:
        id: the id that the client made.
        annotator: who answered.
        question_id: the question.
        at: when it was recorded, UTC, ISO 8601.
        round: the round that the person worked in.
        purpose: why the question was given.
        counts: whether it is one of the k answers that the study uses.
        note: why it does not count, or what was special.
        sent: the act as the client sent it: outcome, what was shown, times, comment.
        lease: the id of the lease; empty for an answer that was imported.
        undone_by: the id of the event that took it back; empty while it stands.
    """

    id: str
    annotator: str
    question_id: str
    at: str
    round: int
    purpose: Purpose
    counts: bool
    note: str
    sent: Mapping[str, Any]
    lease: str
    undone_by: str = ""

    @property
    def undone(self) -> bool:
        """Whether it was taken back."""
        return bool(self.undone_by)

    @property
    def answer_id(self) -> str:
        """Id of the label or answer that it makes."""
        return self.id if self.lease else self.id.removeprefix(IMPORTED)

    @property
    def order_known(self) -> bool:
        """Whether `shown` is the order in which the responses were shown; of an imported answer it may not be."""
        return bool(self.sent.get("order_known", True))

    @property
    def answers(self) -> bool:
        """Whether it takes one of the question's k places."""
        return self.counts and not self.undone and self.purpose == "question"


@dataclass(frozen=True)
class Member:
    """A person who may sign in.

    Attributes:
        name: the annotator's name, as it stands in every act.
        role: what the person may do.
        digests: digests of the valid personal tokens.
        revocations: how often access was withdrawn; a session is valid only for the count it began with.
    """

    name: str
    role: Role
    digests: tuple[str, ...] = ()
    revocations: int = 0

    @property
    def active(self) -> bool:
        """Whether any personal link is valid."""
        return bool(self.digests)


@dataclass
class Record:
    """State after a prefix of the ledger. `apply` depends on nothing but the event, so a replay gives the same."""

    number: int = 0
    events: dict[str, Event] = field(default_factory=dict)
    leases: dict[str, Lease] = field(default_factory=dict)
    open: dict[str, None] = field(default_factory=dict)  # open leases, in order
    given: dict[str, list[str]] = field(default_factory=dict)  # leases by annotator, in order
    acts: dict[str, Act] = field(default_factory=dict)
    acts_on: dict[str, list[str]] = field(default_factory=dict)  # by question, in order
    answered: dict[str, int] = field(default_factory=dict)  # acts that count, by question
    acts_by: dict[str, list[str]] = field(default_factory=dict)  # by annotator, in order
    closed: set[int] = field(default_factory=set)
    paused: bool = False
    overlap: dict[str, int] = field(default_factory=dict)
    members: dict[str, Member] = field(default_factory=dict)

    def apply(self, event: Event) -> None:
        """Advance by one event."""
        self.number = event.number
        if event.kind not in ("leased", "lease_ended"):
            self.events[event.id] = event  # what may be sent again, or is looked up
        match event.kind:
            case "leased":
                self._lease(event)
            case "lease_ended":
                self._end(str(event.body["lease"]), str(event.body["why"]))
            case "voted" | "skipped" | "adjudicated" | "imported":
                self._act(event)
            case "undone":
                undone = self.acts[str(event.body["undoes"])]
                if undone.answers:
                    self.answered[undone.question_id] -= 1
                self.acts[undone.id] = replace(undone, undone_by=event.id)
            case "closed":
                self.closed.add(int(event.body["round"]))
            case "paused":
                self.paused = bool(event.body["paused"])
            case "overlap":
                self.overlap[event.question_id] = int(event.body["labels"])
            case "invited":
                old = self.members.get(event.annotator, Member(event.annotator, "annotator"))
                digests = (*old.digests, str(event.body["digest"]))
                self.members[event.annotator] = replace(old, role=event.body["role"], digests=digests)
            case "revoked":
                old = self.members[event.annotator]
                self.members[event.annotator] = replace(old, digests=(), revocations=old.revocations + 1)
            case "shown":
                pass  # evidence; no state follows from it

    def _lease(self, event: Event) -> None:
        b = event.body
        lease = Lease(
            event.id,
            event.annotator,
            event.question_id,
            int(b["round"]),
            b["purpose"],
            int(b["serial"]),
            b["asks"],
            tuple(b["shown"]),
            str(b["expires_at"]),
        )
        self.leases[lease.id] = lease
        self.open[lease.id] = None
        self.given.setdefault(lease.annotator, []).append(lease.id)

    def _end(self, lease_id: str, why: str) -> None:
        lease = self.leases[lease_id]
        if not lease.ended:
            self.leases[lease_id] = replace(lease, ended=why)
            self.open.pop(lease_id, None)

    def _act(self, event: Event) -> None:
        b = event.body
        act = Act(
            event.id,
            event.annotator,
            event.question_id,
            event.at,
            int(b["round"]),
            b["purpose"],
            bool(b["counts"]),
            str(b["note"]),
            b["act"],
            str(b["task_id"]),
        )
        self.acts[act.id] = act
        if act.answers:
            self.answered[act.question_id] = self.answered.get(act.question_id, 0) + 1
        self.acts_on.setdefault(act.question_id, []).append(act.id)
        self.acts_by.setdefault(act.annotator, []).append(act.id)
        if act.lease:
            self._end(act.lease, "answered")

    # Questions about the state

    def answers(self, question_id: str) -> list[Act]:
        """Return the acts that count for a question, in order."""
        return [a for i in self.acts_on.get(question_id, ()) if (a := self.acts[i]).answers]

    def adjudications(self, question_id: str) -> list[Act]:
        """Return the adjudicators' decisions on a question that were not undone, in order; a skip decides nothing."""
        acts = (self.acts[i] for i in self.acts_on.get(question_id, ()))
        decided = [a for a in acts if a.purpose == "adjudicate" and a.counts and not a.undone]
        return [a for a in decided if a.sent["outcome"] != "skip"]

    def open_leases(self) -> list[Lease]:
        """Return the open leases, in order."""
        return [self.leases[i] for i in self.open]

    def open_of(self, annotator: str) -> list[Lease]:
        """Return a person's open leases, in order."""
        return [x for x in self.open_leases() if x.annotator == annotator]

    def acts_of(self, annotator: str) -> list[Act]:
        """Return a person's acts, in order, undone ones included."""
        return [self.acts[i] for i in self.acts_by.get(annotator, ())]

    def touched(self, annotator: str, question_id: str) -> bool:
        """Return whether a person has ever answered a question, and not taken it back."""
        return any(
            self.acts[i].annotator == annotator and not self.acts[i].undone for i in self.acts_on.get(question_id, ())
        )


def derive(events: Iterable[Event]) -> Record:
    """Return the state after these events, which are a prefix of the ledger."""
    record = Record()
    for event in events:
        record.apply(event)
    return record
