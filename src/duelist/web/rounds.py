"""Batches of questions that are open for answers, and what was answered: the study's side of the desk."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from duelist.web.acts import check_answer
from duelist.web.assignment import DeskSettings, places
from duelist.web.counting import imported_verdict
from duelist.web.disputes import most_disputed
from duelist.web.items import GoldItem, Item, OpenBatch
from duelist.web.journal import Journal
from duelist.web.ledger import Event
from duelist.web.record import Act, Lease
from duelist.web.refusals import RefusedError, conflict


class Rounds:
    """Open and closed batches. Every method may be called from any thread; what one returns is safe on disk."""

    def __init__(self, journal: Journal, settings: DeskSettings, gold: Sequence[GoldItem] = ()) -> None:
        self._journal, self._settings = journal, settings
        self._batches: dict[int, OpenBatch] = {}  # closed ones too: their questions may be disputed
        self.items: dict[str, Item] = {g.item.id: g.item for g in gold}

    def open(self, batch: OpenBatch) -> None:
        """Offer a batch. Opening it again, or after its round was closed, changes no answer."""
        with self._journal.changed:
            self._batches[batch.round] = batch
            self.items |= {item.id: item for item in batch.items}
            self._journal.changed.notify_all()

    def close(self, round: int) -> list[Act]:
        """End a round: later answers do not count, and its acts cannot be undone. Return the acts that count."""
        with self._journal.lock:
            record = self._journal.record
            if round not in record.closed:
                ended = [lease_ended(x, "closed") for x in record.open_leases() if x.round == round]
                self._journal.write(*ended, Event(f"closed-{round}", "closed", body={"round": round}))
            acts = self.acts(round)
            written = self._journal.latest()
        self._journal.settle(written)
        return acts

    def acts(self, round: int) -> list[Act]:
        """Return the acts that count for a round's questions, in order."""
        with self._journal.lock:
            return [a for a in self._journal.record.acts.values() if a.round == round and a.answers]

    def add(self, annotator: str, question_id: str, answer_id: str, sent: Mapping[str, Any]) -> Act:
        """Record an answer that was given elsewhere, in the form of an act (`shown`, `outcome`, `chosen`, …).

        It counts if the question's batch is open, a place is free and the person has no answer on it yet.

        Args:
            annotator: who answered.
            question_id: the question, of a batch that was opened.
            answer_id: identifies the answer; the same id again with the same content changes nothing.
            sent: the answer.

        Raises:
            RefusedError: 404 `unknown_question`, 422 `invalid` if the answer does not fit the question, or 409
                `act_conflict` if the id is recorded with other content.
        """
        with self._journal.lock:
            record = self._journal.record
            found = [(b.round, x) for b in self._batches.values() for x in b.items if x.id == question_id]
            if not found:
                raise RefusedError(
                    404, "unknown_question", f"{question_id!r} must be a question of a batch: correct it."
                )
            round, item = found[0]
            check_answer(sent, item.asks, item.response_ids)
            event_id = f"imported-{answer_id}"
            known = record.acts.get(event_id)
            if known is None:
                counts, note = imported_verdict(record, self._settings, round, annotator, question_id)
                body = {"task_id": "", "round": round, "purpose": "question", "counts": counts, "note": note}
                event = Event(event_id, "imported", annotator, question_id, body=body | {"act": dict(sent)})
                open_ = [x for x in record.open_of(annotator) if x.question_id == question_id]
                own = [x for x in open_ if counts and x.purpose == "question"]
                self._journal.write(event, *(lease_ended(x, "answered") for x in own))
                known = record.acts[event_id]
            elif (known.annotator, known.question_id, dict(known.sent)) != (annotator, question_id, dict(sent)):
                raise conflict("act_conflict", f"{answer_id} was imported with other content: give it another id.")
            written = self._journal.latest()
        self._journal.settle(written)
        return known

    def unfinished(self, round: int) -> int:
        """Return how many questions of a batch that was opened lack some of their k answers."""
        with self._journal.lock:
            record, items = self._journal.record, self._batches[round].items
            return sum(record.answered.get(x.id, 0) < places(record, self._settings, x.id) for x in items)

    def wait_done(self, round: int, timeout: float | None = None) -> bool:
        """Wait until every question of a batch has its k answers; return whether it has."""
        with self._journal.changed:
            return self._journal.changed.wait_for(lambda: self.unfinished(round) == 0, timeout)

    def opened(self) -> list[OpenBatch]:
        """Return the batches that are open, the earliest round first."""
        with self._journal.lock:
            return [self._batches[t] for t in sorted(self._batches) if t not in self._journal.record.closed]

    def working_round(self) -> int:
        """Return the round that an act belongs to now: the earliest open one, or the next."""
        with self._journal.lock:
            return next((b.round for b in self.opened()), max(self._journal.record.closed, default=0) + 1)

    def disputed(self) -> list[tuple[Item, float]]:
        """Return the questions that people disagree on, the most disputed first, with their dispute, from 0 to 1."""
        with self._journal.lock:
            ids = [item.id for t in sorted(self._batches) for item in self._batches[t].items]
            return [(self.items[i], score) for i, score in most_disputed(self._journal.record, ids)]


def lease_ended(lease: Lease, why: str) -> Event:
    """Return the event that ends a lease."""
    body = {"lease": lease.id, "why": why}
    return Event(f"ended-{lease.id}", "lease_ended", lease.annotator, lease.question_id, body=body)
