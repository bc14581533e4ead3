"""Answers as they are sent: whether one is complete, and fits what was asked."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from typing import Any

from duelist.web.items import Asks
from duelist.web.refusals import invalid

_UUID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")
OUTCOMES_OF: Mapping[Asks, tuple[str, ...]] = {
    "pair": ("prefer", "tie", "both_bad", "both_good", "skip"),
    "best_of_k": ("ranked", "all_bad", "all_good", "skip"),
    "best_worst": ("ranked", "all_bad", "all_good", "skip"),
    "ranking": ("ranked", "all_bad", "all_good", "skip"),
}


def check_act(sent: Mapping[str, Any], asks: Asks, response_ids: Collection[str]) -> None:
    """Refuse an act that does not answer the question, or whose id is no UUID.

    Raises:
        RefusedError: 422 `invalid`; see `check_answer`.
    """
    require_uuid(sent["act_id"])
    check_answer(sent, asks, response_ids)


def check_answer(sent: Mapping[str, Any], asks: Asks, response_ids: Collection[str]) -> None:
    """Refuse an answer that does not fit the question.

    Args:
        sent: the act, of the page's form.
        asks: what the question asks.
        response_ids: the question's responses.

    Raises:
        RefusedError: 422 `invalid`, if the outcome does not fit the question, a response is not one
            of the question's, one is named twice, or what the outcome needs is missing.
    """
    ids = set(response_ids)
    if sorted(sent["shown"]) != sorted(ids):
        raise invalid(f"`shown` must hold each of the {len(ids)} responses once, but is {sent['shown']}: reload.")
    outcome, allowed = sent["outcome"], OUTCOMES_OF[asks]
    if outcome not in allowed:
        raise invalid(f"The outcome of a question of type {asks} must be one of {', '.join(allowed)}, not {outcome}.")
    _only_with(sent, "chosen", outcome == "prefer")
    _only_with(sent, "ranking", outcome == "ranked" and asks == "ranking")
    _only_with(sent, "best", outcome == "ranked" and asks in ("best_of_k", "best_worst"))
    _only_with(sent, "worst", outcome == "ranked" and asks == "best_worst")
    named = [i for i in map(sent.get, ("chosen", "best", "worst")) if i]
    ranking = sent.get("ranking") or []
    ranked = [i for tied in ranking for i in tied]
    placed = [p["id"] for p in sent.get("placed") or []]
    for name, found in (("named", named), ("ranking", ranked), ("placed", placed)):
        if unknown := set(found) - ids:
            raise invalid(f"Every response must be one of the question's, but {name} holds {sorted(unknown)[0]!r}.")
    if len(set(ranked)) < len(ranked) or not all(ranking):
        raise invalid("A ranking must hold each response at most once and no empty place: place the cards again.")
    if outcome == "ranked" and asks == "ranking" and not sent.get("stopped") and len(ranked) < len(ids):
        raise invalid(
            f"A ranking must hold all {len(ids)} responses unless it was stopped early, but holds {len(ranked)}: place "
            "the rest, or say `stopped`."
        )
    if asks == "best_worst" and outcome == "ranked" and sent["best"] == sent["worst"]:
        raise invalid("The best and the worst must be two responses, but are one: choose another.")
    if sent.get("better") and outcome not in ("both_bad", "all_bad"):
        raise invalid(f"A better answer belongs to `both_bad`, but the outcome is {outcome}: leave it out.")


def require_uuid(act_id: str) -> None:
    """Refuse an act whose id is no UUID, so that no client's id can meet one that the server makes.

    Raises:
        RefusedError: 422 `invalid`.
    """
    if not _UUID.fullmatch(act_id):
        raise invalid(f"`act_id` must be a UUID in lower case, but is {act_id!r}: make one for each act.")


def _only_with(sent: Mapping[str, Any], name: str, needed: bool) -> None:
    if needed and not sent.get(name):
        raise invalid(f"The outcome {sent['outcome']!r} needs `{name}`, but it is missing: add it.")
    if sent.get(name) and not needed:
        raise invalid(f"The outcome {sent['outcome']!r} has no `{name}`, but it is {sent[name]!r}: leave it out.")
