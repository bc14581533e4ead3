"""Findings of a ledger that was changed by hand."""

from __future__ import annotations

from dataclasses import replace
from uuid import UUID

import pytest
from desk_world import MemoryLedger, act, desk_with, task_of

from duelist.web.ledger import Event
from duelist.web.verification import findings


def recorded() -> list[Event]:
    """A lease, a vote, its undo, the lease again, a vote, and a closed round."""
    ledger = MemoryLedger()
    desk = desk_with(2, ledger=ledger)
    sent = act(task_of(desk.next("ann")))
    desk.act("ann", sent)
    undone = desk.undo("ann", str(UUID(int=1)), sent["act_id"])
    desk.act("ann", act(undone.task))
    desk.rounds.close(1)
    return ledger.recorded


def test_a_ledger_as_it_was_written_has_none() -> None:
    assert [e.kind for e in recorded()] == ["leased", "voted", "undone", "leased", "voted", "closed"]
    assert findings(recorded()) == []


CHANGES = {
    "a lost event": (lambda e: [*e[:2], *e[3:]], "event 4 (leased): its number must be 3"),
    "a vote on a lease that is gone": (
        lambda e: [replace(x, number=n) for n, x in enumerate(e[1:], 1)],
        "event 1 (voted): it answers a question that was not given to 'ann'",
    ),
    "another's vote": (
        lambda e: [e[0], replace(e[1], annotator="eve"), *e[2:]],
        "event 2 (voted): it answers a question",
    ),
    "a choice that was not shown": (
        lambda e: [e[0], replace(e[1], body=e[1].body | {"act": e[1].body["act"] | {"chosen": "x"}}), *e[2:]],
        "event 2 (voted): its choice 'x' was not shown",
    ),
    "another order of responses": (
        lambda e: [e[0], replace(e[1], body=e[1].body | {"act": e[1].body["act"] | {"shown": ["x"]}}), *e[2:]],
        "event 2 (voted): what it says was shown",
    ),
    "a vote twice": (
        lambda e: [*e, replace(e[4], id=str(UUID(int=9)), number=7)],
        "event 7 (voted): 'ann' has an answer that counts",
    ),
    "an id twice": (lambda e: [*e, replace(e[5], number=7)], "event 7 (closed): its id 'closed-1' occurs a second"),
    "an undo of nothing": (
        lambda e: [*e, Event("u", "undone", "ann", body={"undoes": "x", "lease": "y"}, number=7)],
        "event 7 (undone): it undoes 'x'",
    ),
    "an undo twice": (
        lambda e: [*e, Event("u", "undone", "ann", body=dict(e[2].body), number=7)],
        "event 7 (undone): it undoes an act that was undone",
    ),
    "an end of nothing": (
        lambda e: [*e, Event("u", "lease_ended", "ann", body={"lease": "y", "why": ""}, number=7)],
        "event 7 (lease_ended): it ends the lease 'y'",
    ),
    "a body that is gone": (lambda e: [*e, Event("u", "paused", number=7)], "event 7 (paused): it cannot be read"),
}


@pytest.mark.parametrize(("change", "first"), CHANGES.values(), ids=CHANGES.keys())
def test_every_change_is_found(change: object, first: str) -> None:
    assert callable(change)
    found = findings(change(recorded()))
    assert found and found[0].startswith(first), found
