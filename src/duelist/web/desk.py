"""Annotation desk: gives out questions, takes in answers, takes them back."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from datetime import datetime, timedelta
from statistics import median
from typing import Any
from uuid import uuid4

from duelist.web.acts import check_act, require_uuid
from duelist.web.assignment import DeskSettings, display_order, mixed_in, next_question
from duelist.web.counting import open_beside, verdict
from duelist.web.items import GoldItem, Item, Source
from duelist.web.journal import Journal
from duelist.web.ledger import Event, Kind
from duelist.web.record import Act, Lease, Purpose
from duelist.web.refusals import conflict
from duelist.web.rounds import Rounds, lease_ended
from duelist.web.tasks import DeskProgress, Mode, Recorded, Task, Undone, Wait


class Desk:
    """Gives questions of the open batches to people. Every method may be called from any thread.

    What a method returns is safe on disk.
    """

    def __init__(
        self, journal: Journal, source: Source, settings: DeskSettings | None = None, gold: Sequence[GoldItem] = ()
    ) -> None:
        self.journal, self.source, self.settings, self.gold = journal, source, settings or DeskSettings(), tuple(gold)
        self.rounds = Rounds(journal, self.settings, self.gold)

    def next(self, annotator: str, hold: Collection[str] = (), mode: Mode = "annotate") -> Task | Wait:
        """Return the question that a person should answer next: one that they have a lease on, or a new one.

        Args:
            annotator: the person.
            hold: ids of the questions that the page shows already, or has unsent answers for.
            mode: `adjudicate` for the queue of disputed questions.
        """
        with self.journal.lock:
            now = self.journal.clock()
            self._expire(now)
            found = self._resumed(annotator, hold, mode) or self._chosen(annotator, hold, mode, now)
            written = self.journal.latest()
        self.journal.settle(written)
        return found

    def act(self, annotator: str, sent: Mapping[str, Any]) -> Recorded:
        """Record an answer.

        Args:
            annotator: who answers.
            sent: the act, of the page's form (`act_id`, `task_id`, `question_id`, `shown`, `outcome`, …).

        Raises:
            RefusedError: 409 `act_conflict`, if the act's id is recorded with other content; 409 `unknown_task`, if
                the person never had that lease; 422 `invalid`, if the answer does not fit the question.
        """
        with self.journal.lock:
            record = self.journal.record
            known = record.events.get(sent["act_id"])
            if known is not None:
                act = record.acts.get(known.id)
                if act is None or act.annotator != annotator or dict(act.sent) != dict(sent):
                    raise conflict(
                        "act_conflict",
                        f"An act's id stands for one act, but {known.id} was recorded with other content: reload.",
                    )
                result = Recorded(True, act.counts, act.note)
            else:
                lease = self._lease_of(annotator, sent["task_id"], sent["question_id"])
                check_act(sent, lease.asks, lease.shown)
                counts, note = verdict(record, self.settings, lease)
                kind: Kind = "skipped" if sent["outcome"] == "skip" else "voted"
                body = {
                    "task_id": lease.id,
                    "round": lease.round,
                    "purpose": lease.purpose,
                    "counts": counts,
                    "note": note,
                    "act": dict(sent),
                }
                if lease.purpose == "adjudicate":
                    kind = "adjudicated"
                own = [x for x in open_beside(record, lease) if counts and x.annotator == annotator]
                event = Event(sent["act_id"], kind, annotator, lease.question_id, body=body)
                self.journal.write(event, *(lease_ended(x, "answered") for x in own))
                result = Recorded(False, counts, note)
            written = self.journal.latest()
        self.journal.settle(written)
        return result

    def undo(self, annotator: str, act_id: str, undoes: str) -> Undone:
        """Take back an answer, and give its question to the person again, displayed as before.

        Args:
            annotator: who takes it back.
            act_id: id of this act, made by the client.
            undoes: id of the answer.

        Raises:
            RefusedError: 409 `unknown_act`, `already_undone`, `too_late` (its round is closed), `does_not_count`, or
                `act_conflict`.
        """
        require_uuid(act_id)
        with self.journal.lock:
            record = self.journal.record
            known = record.events.get(act_id)
            if known is not None:
                if known.kind != "undone" or known.annotator != annotator or known.body["undoes"] != undoes:
                    raise conflict("act_conflict", f"An act's id stands for one act, but {act_id} was another: reload.")
                lease = record.leases[str(known.body["lease"])]
                if lease.question_id not in self.rounds.items:
                    raise conflict("too_late", f"The question of {undoes!r} is no longer open: go on.")
            else:
                act = self._undoable(annotator, undoes)
                old, item = record.leases[act.lease], self.rounds.items[act.question_id]
                leased = self._lease(annotator, item, old.purpose, old.round, self.journal.clock(), old.shown)
                undone = {"undoes": act.id, "lease": leased.id}
                self.journal.write(Event(act_id, "undone", annotator, act.question_id, body=undone), leased)
                lease = record.leases[leased.id]
            result = Undone(Task(lease, self.rounds.items[lease.question_id]), record.acts[undoes].sent)
            written = self.journal.latest()
        self.journal.settle(written)
        return result

    def shown(self, annotator: str, task_id: str, question_id: str, order: Sequence[str]) -> None:
        """Record that a question came on screen, the first time.

        Raises:
            RefusedError: 409 `unknown_task`, if the person never had that lease.
        """
        with self.journal.lock:
            lease = self._lease_of(annotator, task_id, question_id)
            event_id = f"shown-{task_id}"
            if event_id not in self.journal.record.events:
                body = {"task_id": lease.id, "shown": list(order)}
                self.journal.write(Event(event_id, "shown", annotator, question_id, body=body))
            written = self.journal.latest()
        self.journal.settle(written)

    def history(self, annotator: str) -> list[Act]:
        """Return the acts that a person can still take back, newest first."""
        with self.journal.lock:
            record = self.journal.record
            acts = record.acts_of(annotator)
            mine = (a for a in reversed(acts) if a.lease and a.counts and not a.undone)
            return [a for a in mine if a.round not in record.closed]

    def is_right(self, act: Act) -> bool:
        """Return whether the answer to a gold question is the known one; true if the question is gold no more."""
        known = [g for g in self.gold if g.item.id == act.question_id]
        return known[0].met_by(act.sent) if known else True

    def progress(self, annotator: str) -> DeskProgress:
        """Return the progress of the earliest open batch, and of one person."""
        standing = self.source.standing()
        with self.journal.lock:
            record = self.journal.record
            batch = next(iter(self.rounds.opened()), None)
            done = 0 if batch is None else len(batch.items) - self.rounds.unfinished(batch.round)
            acts = [a for a in record.acts_of(annotator) if a.counts and not a.undone]
            seconds = [float(a.sent.get("active_seconds") or 0.0) for a in acts[-50:]]
        return DeskProgress(
            batch=0 if batch is None else len(batch.items),
            batch_done=done,
            mine=0 if batch is None else sum(a.round == batch.round for a in acts),
            budget_left=standing.budget_left,
            round=standing.round if batch is None else batch.round,
            rounds=standing.rounds,
            seconds_median=median(seconds) if seconds else None,
        )

    # Under the lock

    def _expire(self, now: datetime) -> None:
        late = [x for x in self.journal.record.open_leases() if datetime.fromisoformat(x.expires_at) <= now]
        if late:
            self.journal.write(*(lease_ended(x, "expired") for x in late))

    def _resumed(self, annotator: str, hold: Collection[str], mode: Mode) -> Task | None:
        """Return the earliest open lease that the person's page does not show: it was reloaded, say."""
        for lease in self.journal.record.open_of(annotator):
            wanted = (lease.purpose == "adjudicate") == (mode == "adjudicate")
            if wanted and lease.question_id not in hold and lease.question_id in self.rounds.items:
                return Task(lease, self.rounds.items[lease.question_id])
        return None

    def _chosen(self, annotator: str, hold: Collection[str], mode: Mode, now: datetime) -> Task | Wait:
        record = self.journal.record
        if record.paused:
            return Wait("paused")
        if len(record.open_of(annotator)) >= self.settings.open_leases:
            return Wait("others_labelling")
        purpose: Purpose = "question"
        if mode == "adjudicate":
            disputed = self._to_adjudicate(annotator, hold)
            if disputed is None:
                return self._wait()
            purpose, round, item = "adjudicate", self.rounds.working_round(), disputed
        else:
            chosen = next_question(record, self.settings, self.rounds.opened(), annotator, hold)
            if chosen is None:
                return self._wait()
            round, item = chosen[0].round, chosen[1]
            special = mixed_in(record, self.settings, annotator, self.gold, self.rounds.items, hold)
            purpose, item = special or (purpose, item)
        leased = self._lease(annotator, item, purpose, round, now)
        self.journal.write(leased)
        return Task(record.leases[leased.id], item)

    def _to_adjudicate(self, annotator: str, hold: Collection[str]) -> Item | None:
        record = self.journal.record
        leased = {x.question_id for x in record.open_leases() if x.purpose == "adjudicate"}
        for item, _ in self.rounds.disputed():
            i = item.id
            if i not in leased and i not in hold and not record.adjudications(i) and not record.touched(annotator, i):
                return item
        return None

    def _wait(self) -> Wait:
        if self.rounds.opened():
            return Wait("others_labelling")
        phase = self.source.standing().phase
        return Wait("finished", 60) if phase == "finished" else Wait("training")

    def _lease(
        self, annotator: str, item: Item, purpose: Purpose, round: int, now: datetime, shown: Sequence[str] = ()
    ) -> Event:
        """Return the event that gives a question to a person."""
        serial = int(purpose == "repeat")
        body = {
            "round": round,
            "purpose": purpose,
            "serial": serial,
            "asks": item.asks,
            "shown": list(shown or display_order(self.settings.seed, item, annotator, serial)),
            "expires_at": (now + timedelta(seconds=self.settings.lease_seconds)).isoformat(),
        }
        return Event(f"lease-{uuid4().hex}", "leased", annotator, item.id, body=body)

    def _lease_of(self, annotator: str, task_id: str, question_id: str) -> Lease:
        lease = self.journal.record.leases.get(task_id)
        if lease is None or lease.annotator != annotator or lease.question_id != question_id:
            raise conflict(
                "unknown_task",
                f"An answer must be for a question given to {annotator}, but task {task_id!r} was not: reload.",
            )
        return lease

    def _undoable(self, annotator: str, undoes: str) -> Act:
        act = self.journal.record.acts.get(undoes)
        if act is None or act.annotator != annotator or not act.lease:
            raise conflict("unknown_act", f"Only an own answer can be undone, but {undoes!r} is none of {annotator}'s.")
        if act.undone:
            raise conflict("already_undone", f"An answer can be undone once, but {undoes!r} was undone: reload.")
        if not act.counts:
            raise conflict("does_not_count", f"There is nothing to undo: {act.note}")
        if act.round in self.journal.record.closed or act.question_id not in self.rounds.items:
            raise conflict(
                "too_late",
                f"An answer can be undone until its round is closed, but round {act.round} of {undoes!r} is: go on.",
            )
        return act
