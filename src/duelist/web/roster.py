"""People who may sign in, by personal tokens, and what the owner decides: pause, overlap."""

from __future__ import annotations

import hmac
import unicodedata
from uuid import uuid4

from duelist.web.assignment import MOST_LABELS, places
from duelist.web.desk import Desk
from duelist.web.ledger import Event
from duelist.web.record import Member, Role
from duelist.web.refusals import RefusedError, conflict, invalid
from duelist.web.rounds import lease_ended
from duelist.web.tokens import Secret, new_token

LONGEST_NAME = 64
_WRONG = ("Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp")  # control, invisible, unassigned


class Roster:
    """Members of the study and the owner's decisions. Every method may be called from any thread."""

    def __init__(self, desk: Desk, secret: Secret) -> None:
        self._desk, self._journal, self._secret = desk, desk.journal, secret

    def members(self) -> list[Member]:
        """Return everyone who was ever invited, in order."""
        with self._journal.lock:
            return list(self._journal.record.members.values())

    def member(self, name: str) -> Member | None:
        """Return a person by name. Waits for no lock, as every request needs it, on the server's event loop."""
        return self._journal.record.members.get(name)

    def invite(self, name: str, role: Role) -> str:
        """Return a new personal token for a person; earlier ones stay valid. Only its digest is recorded.

        Raises:
            RefusedError: if the name cannot be used, or is that of a person with another role.
        """
        wrong = [c for c in name if unicodedata.category(c) in _WRONG]
        if not name.strip() or name != name.strip() or len(name) > LONGEST_NAME or wrong:
            raise invalid(
                f"A name must have 1 to {LONGEST_NAME} visible characters and no space at its ends, but is {name!r}: "
                "choose another."
            )
        token = new_token()
        with self._journal.lock:
            old = self._journal.record.members.get(name)
            if old is not None and old.active and old.role != role:
                raise conflict("other_role", f"{name} is {old.role} already: revoke that, or choose another name.")
            body = {"role": role, "digest": self._secret.digest(token)}
            written = self._journal.write(Event(f"invited-{uuid4().hex}", "invited", name, body=body))
        self._journal.settle(written)
        return token

    def revoke(self, name: str) -> None:
        """Make a person's links and sessions invalid, and give their open questions to others.

        Raises:
            RefusedError: 404 `unknown_annotator`, if nobody has that name.
        """
        with self._journal.lock:
            record = self._journal.record
            if name not in record.members:
                raise RefusedError(404, "unknown_annotator", f"Only who was invited can be revoked, but not {name!r}.")
            ended = [lease_ended(x, "revoked") for x in record.open_of(name)]
            written = self._journal.write(Event(f"revoked-{uuid4().hex}", "revoked", name), *ended)
        self._journal.settle(written)

    def holder(self, token: str) -> Member | None:
        """Return the person with this token; None if it is not valid. Every digest is compared in constant time."""
        digest, found = self._secret.digest(token), None
        for member in self.members():
            for known in member.digests:
                if hmac.compare_digest(known, digest):
                    found = member
        return found

    def pause(self, paused: bool) -> None:
        """Stop or resume giving out questions. Who has one may answer it."""
        with self._journal.lock:
            written = self._journal.latest()
            if self._journal.record.paused != paused:
                written = self._journal.write(Event(f"paused-{uuid4().hex}", "paused", body={"paused": paused}))
        self._journal.settle(written)

    def raise_overlap(self, question_id: str, labels: int) -> None:
        """Ask more people about a question of an open batch.

        Raises:
            RefusedError: 404 `unknown_question`, 409 `too_late` if its round is closed, or 422 if `labels` is less
                than now or too many.
        """
        with self._journal.lock:
            record = self._journal.record
            if question_id not in self._desk.rounds.items:
                raise RefusedError(
                    404, "unknown_question", f"{question_id!r} must be a question of a batch: correct it."
                )
            if not any(item.id == question_id for batch in self._desk.rounds.opened() for item in batch.items):
                raise conflict("too_late", "The overlap can be raised until the round is closed, but it is closed.")
            now = places(record, self._desk.settings, question_id)
            if not now <= labels <= MOST_LABELS:
                raise invalid(f"`labels` must be from {now} (as now) to {MOST_LABELS}, but is {labels}: correct it.")
            body = {"labels": labels}
            written = self._journal.write(Event(f"overlap-{uuid4().hex}", "overlap", "", question_id, body=body))
        self._journal.settle(written)
