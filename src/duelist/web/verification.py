"""Check of a ledger against itself: what `duelist verify` says about people's acts, one line a finding."""

from __future__ import annotations

from collections.abc import Iterable

from duelist.web.ledger import Event
from duelist.web.record import Record

_ACTS = ("voted", "skipped", "adjudicated")


def findings(events: Iterable[Event]) -> list[str]:
    """Return what is wrong with a ledger's events, in order; empty if nothing is.

    Numbers must follow one another from 1 and ids occur once. An act must answer a question that was given to the same
    person before, with the responses that were given; an undo must take back an act of the same person; nobody's answer
    may count twice on one question.
    """
    found: list[str] = []
    record, seen = Record(), set[str]()
    for position, event in enumerate(events, 1):
        wrong = _wrong(record, event, position)
        if event.id in seen:
            wrong = f"its id {event.id!r} occurs a second time"
        seen.add(event.id)
        if wrong:
            found.append(f"event {event.number} ({event.kind}): {wrong}")
        try:
            record.apply(event)
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            if not wrong:
                found.append(f"event {event.number} ({event.kind}): it cannot be read: {type(error).__name__} {error}")
    return found


def _wrong(record: Record, event: Event, position: int) -> str:
    if event.number != position:
        return f"its number must be {position}"
    body = event.body
    if event.kind == "lease_ended" and body.get("lease") not in record.leases:
        return f"it ends the lease {body.get('lease')!r}, which was never given"
    if event.kind == "undone":
        act = record.acts.get(str(body.get("undoes")))
        if act is None or act.annotator != event.annotator:
            return f"it undoes {body.get('undoes')!r}, which is no act of {event.annotator!r}"
        return "it undoes an act that was undone before" if act.undone else ""
    counts = body.get("counts") and body.get("purpose") == "question"
    if event.kind == "imported" and counts and _counted(record, event):
        return f"{event.annotator!r} has an answer that counts on this question already"
    if event.kind in _ACTS:
        lease = record.leases.get(str(body.get("task_id")))
        if lease is None or (lease.annotator, lease.question_id) != (event.annotator, event.question_id):
            return f"it answers a question that was not given to {event.annotator!r}"
        sent = body.get("act") or {}
        if sorted(sent.get("shown") or ()) != sorted(lease.shown):
            return "what it says was shown is not what was given"
        if sent.get("chosen") and sent["chosen"] not in lease.shown:
            return f"its choice {sent['chosen']!r} was not shown"
        if body.get("counts") and lease.purpose == "question" and _counted(record, event):
            return f"{event.annotator!r} has an answer that counts on this question already"
    return ""


def _counted(record: Record, event: Event) -> bool:
    return any(a.annotator == event.annotator for a in record.answers(event.question_id))
