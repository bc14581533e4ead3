"""Disagreement between people on one question, over the orders of its responses."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import combinations
from typing import Any

from duelist.people.votes import MISSING
from duelist.web.record import Act, Record

Order = Mapping[tuple[str, str], int]


def stated_order(sent: Mapping[str, Any]) -> dict[tuple[str, str], int]:
    """Return what an act says about pairs of responses: 1 if the first is better, -1 if worse, 0 if neither.

    Keys are sorted pairs of ids; pairs on which the act is silent are missing. A skip says nothing, nor does a judge
    that contradicts itself.
    """
    ids = sorted(sent["shown"])
    outcome = sent["outcome"]
    if outcome in MISSING:
        return {}
    level: dict[str, float] = {}
    if outcome == "prefer":
        level = {i: float(i == sent["chosen"]) for i in ids}
    elif outcome != "ranked":
        level = dict.fromkeys(ids, 0.0)
    elif sent.get("ranking"):
        for rank, tied in enumerate(sent["ranking"]):
            level |= dict.fromkeys(tied, -float(rank))
    else:
        level = dict.fromkeys(ids, 0.0) | {sent["best"]: 1.0}
        if sent.get("worst"):
            level[sent["worst"]] = -1.0
    order = {}
    for x, y in combinations(ids, 2):
        if x in level and y in level:
            order[x, y] = (level[x] > level[y]) - (level[x] < level[y])
        elif x in level or y in level:
            order[x, y] = 1 if x in level else -1  # the unranked rest comes after what was ranked
    if outcome == "ranked" and not sent.get("ranking"):
        middle = [i for i in ids if level[i] == 0.0]
        for pair in combinations(middle, 2):
            del order[pair]  # best and worst say nothing about those between
    return order


def agreement(one: Order, other: Order) -> float | None:
    """Return the agreement of two people: 1 for equal, 0 for opposite, 0.5 for a preference against a tie.

    It is the mean over the pairs of responses on which both say something; None if there are none.
    """
    both = one.keys() & other.keys()
    if not both:
        return None
    return 1 - sum(abs(one[pair] - other[pair]) for pair in both) / (2 * len(both))


def agreements(acts: Sequence[Act]) -> list[float]:
    """Return the agreement of every two acts on one question that can be compared."""
    orders = [stated_order(act.sent) for act in acts]
    found = (agreement(x, y) for x, y in combinations(orders, 2))
    return [value for value in found if value is not None]


def dispute(acts: Sequence[Act]) -> float:
    """Return how disputed a question is: 1 minus the mean agreement of its answers; 0 with fewer than two."""
    values = agreements(acts)
    return 1 - sum(values) / len(values) if values else 0.0


def most_disputed(record: Record, question_ids: Sequence[str]) -> list[tuple[str, float]]:
    """Return the disputed questions, the most disputed first, ties in the given order, with their dispute."""
    scored = [(i, dispute(record.answers(i))) for i in question_ids]
    return sorted((x for x in scored if x[1] > 0), key=lambda x: -x[1])
