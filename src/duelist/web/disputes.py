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


class Agreements:
    """Agreement of the answers on each question, computed anew when they change. The caller holds a lock."""

    def __init__(self) -> None:
        self._known: dict[str, tuple[tuple[object, ...], list[float]]] = {}

    def on(self, record: Record, question_id: str) -> list[float]:
        """Return `agreements` of a question's answers."""
        acts = record.acts_on.get(question_id, ())
        version = (len(acts), acts[-1] if acts else "", record.answered.get(question_id, 0))
        known = self._known.get(question_id)
        if known is None or known[0] != version:
            known = self._known[question_id] = version, agreements(record.answers(question_id))
        return known[1]

    def most_disputed(self, record: Record, question_ids: Sequence[str]) -> list[tuple[str, float]]:
        """Return the disputed questions, the most disputed first, ties in the given order, with their dispute.

        That is 1 minus the mean agreement of the question's answers; with fewer than two there is no dispute.
        """
        found = [(i, self.on(record, i)) for i in question_ids]
        scored = [(i, 1 - sum(values) / len(values)) for i, values in found if values]
        return sorted((x for x in scored if x[1] > 0), key=lambda x: -x[1])
