"""What an answer counts for. It is never refused for being late: it is recorded, with `counts` and a note.

    the lease ran out, and the place is still free      counts
    the lease ran out, and the place was given away     does not count
    the person has an answer on it (a second tab)       does not count; the first stands until it is undone
    the round was closed                                does not count

A skip is an answer: it takes its place, as it uses the study's budget. An adjudicator's skip decides nothing.
"""

from __future__ import annotations

from duelist.web.assignment import DeskSettings, places
from duelist.web.record import Lease, Record

LATE = "Your time for this question had run out, but nobody else was given it: your answer counts."
TAKEN = "Your time for this question had run out, and others answer it: your answer is recorded and not used."
TWICE = "You had answered this question already, in another tab perhaps: the first answer stands until you undo it."
FULL = "The question has its answers, or people are answering it: this one is recorded and not used."
CLOSED = "The round was closed before this answer came: it is recorded and not used."


def verdict(record: Record, settings: DeskSettings, lease: Lease) -> tuple[bool, str]:
    """Return whether an answer to a lease's question would count now, and the note for the person.

    Gold questions and repeats follow the same rules, so that nothing tells them apart.
    """
    if lease.round in record.closed:
        return False, CLOSED
    acts = [record.acts[i] for i in record.acts_on.get(lease.question_id, ())]
    same = [a for a in acts if a.counts and not a.undone and a.purpose == lease.purpose]
    if any(a.annotator == lease.annotator for a in same):
        return False, TWICE
    if not lease.ended or any(x.annotator == lease.annotator for x in open_beside(record, lease)):
        return True, ""  # an open lease holds a place for this person, whichever of their tabs answers
    taken, k = len(same), places(record, settings, lease.question_id)
    if lease.purpose == "adjudicate":
        taken, k = len(record.adjudications(lease.question_id)), 1
    if lease.purpose in ("question", "adjudicate") and taken + len(open_beside(record, lease)) >= k:
        return False, TAKEN
    return True, LATE


def imported_verdict(
    record: Record, settings: DeskSettings, round: int, annotator: str, question_id: str, more: int = 0
) -> tuple[bool, str]:
    """Return whether an answer given elsewhere would take a place now, and the note.

    Args:
        record: the state.
        settings: the places.
        round: the question's round.
        annotator: who answered.
        question_id: the question.
        more: answers to the question that are about to be recorded before this one.
    """
    if round in record.closed:
        return False, CLOSED
    answers = record.answers(question_id)
    if any(a.annotator == annotator for a in answers):
        return False, TWICE
    leases = [x for x in record.open_leases() if x.question_id == question_id and x.purpose == "question"]
    held = [x for x in leases if x.annotator != annotator]
    if len(answers) + more + len(held) >= places(record, settings, question_id):
        return False, FULL
    return True, ""


def open_beside(record: Record, lease: Lease) -> list[Lease]:
    """Return the other open leases on a lease's question for the same purpose."""
    return [
        x
        for x in record.open_leases()
        if x.question_id == lease.question_id and x.purpose == lease.purpose and x.id != lease.id
    ]
