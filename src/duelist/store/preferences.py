"""What a label is worth as a training item."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from duelist.types import Label, Pair, Preference, Prompt, VoteRule


def preference_of(
    label: Label, pair: Pair, prompts: Mapping[str, Prompt], votes: VoteRule, ties: bool
) -> Preference | None:
    """The training item that a label makes; None if it makes none, as `skip` and `both_bad` never do.

    Args:
        label: a decision on `pair`.
        pair: the two responses.
        prompts: at least the pair's, by id.
        votes: `majority` takes the label as its outcome says. `soft` gives a label with vote counts the share of the
            votes that its chosen response got, (n + n_eq / 2) / (n_a + n_b + n_eq): the loss of that one item is then
            the mean of the losses of the votes one by one, a vote for neither counting half for each.
        ties: whether a tie makes one: with share 0.5 (soft: a's share) and response a as `chosen`.
    """
    if label.outcome not in (("a", "b", "tie") if ties else ("a", "b")):
        return None
    return _preference(pair, label.outcome != "b", prompts, label.annotator, _share(label, votes))


def preference_json(preference: Preference) -> dict[str, Any]:
    """Return a preference as JSON, by the ids of its prompt, pair and responses."""
    by_id = {name: getattr(preference, name).id for name in ("prompt", "chosen", "rejected")}
    return {**by_id, **{name: getattr(preference, name) for name in ("pair_id", "annotator", "share", "weight")}}


def preference_from(value: Mapping[str, Any], pair: Pair, prompts: Mapping[str, Prompt]) -> Preference:
    """Return the preference that `preference_json` wrote; what it says beside is the pair's."""
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
