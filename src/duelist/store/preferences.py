"""What a label is worth as a training item."""

from __future__ import annotations

from collections.abc import Mapping

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
    chosen, rejected = (pair.b, pair.a) if label.outcome == "b" else (pair.a, pair.b)
    prompt, share = prompts[chosen.prompt_id], _share(label, votes)
    return Preference(prompt, chosen, rejected, pair.id, label.annotator, share, pair.weight)


def _share(label: Label, rule: VoteRule) -> float:
    votes = label.votes
    total = 0 if votes is None else votes.n_a + votes.n_b + votes.n_eq
    if rule == "majority" or votes is None or total == 0:
        return 0.5 if label.outcome == "tie" else 1.0
    return ((votes.n_b if label.outcome == "b" else votes.n_a) + votes.n_eq / 2) / total
