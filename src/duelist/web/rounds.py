"""Batches of questions that are open for answers, and what was answered: the study's side of the desk."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace

from duelist.web.acts import check_answer
from duelist.web.assignment import DeskSettings, places
from duelist.web.counting import TWICE, imported_verdict
from duelist.web.disputes import Agreements
from duelist.web.items import GoldItem, Item, OpenBatch
from duelist.web.journal import Journal
from duelist.web.ledger import Event
from duelist.web.record import IMPORTED, Act, Lease
from duelist.web.refusals import ImportRefusedError, RefusedError, conflict
from duelist.web.tasks import ImportedAnswer


class Rounds:
    """Open and closed batches. Every method may be called from any thread; what one returns is safe on disk."""

    def __init__(self, journal: Journal, settings: DeskSettings, gold: Sequence[GoldItem] = ()) -> None:
        self._journal, self._settings = journal, settings
        self._batches: dict[int, OpenBatch] = {}  # closed ones too: their questions may be disputed
        self._agreements = Agreements()
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

    def add(self, answers: Sequence[ImportedAnswer], second: bool = True) -> list[Act]:
        """Record answers that were given elsewhere, all or none, and return them as acts.

        One counts if its batch is open, a place is free and the person has no answer on it yet. The same id again with
        the same content changes nothing.

        Args:
            answers: the answers, each to a question of a batch that was opened.
            second: whether to record answers of people who have one to the question already; else they are refused.

        Raises:
            ImportRefusedError: 404 `unknown_question`, 422 `invalid` if an answer does not fit its question, 409
                `act_conflict` if an id is recorded with other content, or 409 `twice`. Then nothing is recorded.
        """
        with self._journal.lock:
            record, events = self._journal.record, list[Event]()
            rounds = {x.id: b.round for b in self._batches.values() for x in b.items}
            fresh: dict[str, ImportedAnswer] = {}
            taken = Counter[str]()
            given = set[tuple[str, str]]()
            for position, one in enumerate(answers):
                event_id, who = IMPORTED + one.answer_id, (one.annotator, one.question_id)
                try:
                    self._require_possible(one, rounds)
                    if (known := fresh.get(one.answer_id) or _imported(record.acts.get(event_id))) is not None:
                        _require_same(known, one)
                        continue
                    round, counts, note = rounds[one.question_id], True, ""
                    if one.purpose == "question":
                        more = taken[one.question_id]
                        counts, note = imported_verdict(record, self._settings, round, *who, more)
                        counts, note = (False, TWICE) if who in given else (counts, note)
                    if not second and (who in given or record.touched(*who)):
                        raise conflict("twice", f"{one.annotator} has answered {one.question_id}: leave it out.")
                except RefusedError as error:
                    raise ImportRefusedError(position, error) from error
                taken[one.question_id] += counts and one.purpose == "question"
                if one.purpose == "question":
                    given.add(who)
                fresh[one.answer_id] = one
                body = {"task_id": "", "round": round, "purpose": one.purpose, "counts": counts, "note": note}
                events.append(Event(event_id, "imported", *who, body=body | {"act": dict(one.sent)}))
                open_ = [x for x in record.open_of(one.annotator) if x.question_id == one.question_id]
                events += [lease_ended(x, "answered") for x in open_ if counts and x.purpose == one.purpose]
            written = self._journal.write(*events) if events else self._journal.latest()
            acts = [record.acts[IMPORTED + one.answer_id] for one in answers]
        self._journal.settle(written)
        return acts

    def _require_possible(self, one: ImportedAnswer, rounds: Mapping[str, int]) -> None:
        if one.question_id not in rounds:
            raise RefusedError(
                404, "unknown_question", f"{one.question_id!r} must be a question of a batch: correct it."
            )
        item = self.items[one.question_id]
        check_answer(one.sent, item.asks, item.response_ids)

    def unfinished(self, round: int) -> int:
        """Return how many questions of a batch that was opened lack some of their k answers."""
        with self._journal.lock:
            record, items = self._journal.record, self._batches[round].items
            return sum(record.answered.get(x.id, 0) < places(record, self._settings, x.id) for x in items)

    def size(self, round: int) -> int:
        """Return the number of questions of a batch that was opened."""
        return len(self._batches[round].items)

    def answered_after(self, round: int) -> int:
        """Return how many questions of the batches after a round have an answer."""
        with self._journal.lock:
            answered = self._journal.record.answered
            later = [x for t, batch in self._batches.items() if t > round for x in batch.items]
            return sum(answered.get(x.id, 0) > 0 for x in later)

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
            return [(self.items[i], score) for i, score in self._agreements.most_disputed(self._journal.record, ids)]

    def agreements(self) -> list[float]:
        """Return the agreement of every two answers to one question that can be compared."""
        with self._journal.lock:
            record = self._journal.record
            return [value for i in record.answered for value in self._agreements.on(record, i)]


def _imported(act: Act | None) -> ImportedAnswer | None:
    if act is None:
        return None
    return ImportedAnswer(act.annotator, act.question_id, act.answer_id, dict(act.sent), act.purpose)


def _require_same(known: ImportedAnswer, one: ImportedAnswer) -> None:
    if known != replace(one, sent=dict(one.sent)):
        raise conflict(
            "act_conflict",
            f"An answer's id stands for one act, but {one.answer_id!r} is that of another: give it another id.",
        )


def lease_ended(lease: Lease, why: str) -> Event:
    """Return the event that ends a lease."""
    body = {"lease": lease.id, "why": why}
    return Event(f"ended-{lease.id}", "lease_ended", lease.annotator, lease.question_id, body=body)
