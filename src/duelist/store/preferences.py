"""Conversion of labels to training items."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from duelist.types import Label, Pair, Preference, Prompt, VoteRule


def preference_of(
    label: Label, pair: Pair, prompts: Mapping[str, Prompt], votes: VoteRule, ties: bool
) -> Preference | None:
    """Return the training item of a label; None if it has none, as for `skip` and `both_bad`.

    Args:
        label: a decision on `pair`.
        pair: the two responses.
        prompts: prompts by id, including the pair's.
        votes: `majority` uses the label's outcome. `soft` gives a label with vote counts the share of its chosen
            response among the votes, (n + n_eq / 2) / (n_a + n_b + n_eq). The item's loss is then the mean of the
            losses of the single votes, where a vote for neither counts half for each.
        ties: whether a tie gives an item, with share 0.5 (soft: a's share) and response a as `chosen`.
    """
    if label.outcome not in (("a", "b", "tie") if ties else ("a", "b")):
        return None
    return _preference(pair, label.outcome != "b", prompts, label.annotator, _share(label, votes))


def preference_json(preference: Preference) -> dict[str, Any]:
    """Return a preference as JSON, with its prompt, pair and responses by id."""
    by_id = {name: getattr(preference, name).id for name in ("prompt", "chosen", "rejected")}
    return {**by_id, **{name: getattr(preference, name) for name in ("pair_id", "annotator", "share", "weight")}}


def preference_from(value: Mapping[str, Any], pair: Pair, prompts: Mapping[str, Prompt]) -> Preference:
    """Return the preference written by `preference_json`; its other values come from the pair."""
    chose_a, share = value["chosen"] == pair.a.id, value.get("share", 1.0)
    return _preference(pair, chose_a, prompts, value["annotator"], share)


def _preference(pair: Pair, chose_a: bool, prompts: Mapping[str, Prompt], annotator: str, share: float) -> Preference:
    a, b, origins = pair.a, pair.b, pair.drawn_from
    if not chose_a:
        a, b, origins = b, a, origins and (origins[1], origins[0])
    return Preference(prompts[a.prompt_id], a, b, pair.id, annotator, share, pair.weight, origins)


def _share(label: Label, rule: VoteRule) -> float:
    votes = label.votes
    total = 0 if votes is None else votes.n_a + votes.n_b + votes.n_eq
    if rule == "majority" or votes is None or total == 0:
        return 0.5 if label.outcome == "tie" else 1.0
    return ((votes.n_b if label.outcome == "b" else votes.n_a) + votes.n_eq / 2) / total
