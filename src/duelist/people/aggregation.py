"""Several people's votes on a pair as training shares: `majority`, `soft`, `every` or `reliability`.

Formula:   majority: the outcome with strictly the most votes, with share 1;
           soft: share of a = (n_a + n_tie / 2) / (n_a + n_b + n_tie), where a judge's vote counts p for a and 1 − p
           for b, with p the probability of its judgement (`Judgement.probability`);
           every: share 1 for each vote;
           reliability: share of a = p_a / (p_a + p_b) with weight p_a + p_b, p the Dawid–Skene posterior
           (`reliability.dawid_skene`). The weighted loss is then the expected loss of the unknown outcome.

A question on which nobody prefers a response has no item. `both_bad` and `both_good` count in the majority and in the
posterior, and nowhere else; a skip counts nowhere, nor does a judge that contradicts itself or cannot be read.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Literal, get_args

from duelist.errors import DataError
from duelist.people.reliability import dawid_skene
from duelist.people.votes import PREFERENCES, ballots
from duelist.types import Label

AggregationRule = Literal["majority", "soft", "every", "reliability"]


@dataclass(frozen=True)
class TrainingShare:
    """What a question gives to train on, for a `Preference`.

    Attributes:
        chosen: the preferred response; `a` if the share is 0.5.
        share: share of the votes for `chosen`, from 0.5 to 1.
        weight: weight in the loss, to be multiplied by the pair's own.
        annotators: whose votes it is made of, sorted.
    """

    chosen: Literal["a", "b"]
    share: float
    weight: float
    annotators: tuple[str, ...]


def aggregate(votes: Iterable[Label], rule: AggregationRule, ties: bool = False) -> dict[str, list[TrainingShare]]:
    """Return the training shares of every question that has a vote, sorted by question.

    Args:
        votes: labels in order of arrival. The last vote of an annotator on a question counts.
        rule: how to use several votes on a question.
        ties: whether a tie gives an item: with share 0.5 (majority, every), if nobody prefers a response (soft), or by
            half of its probability each way (reliability). Without, a tie counts only in `soft`, half each way, beside
            votes for a or b.

    Raises:
        DataError: if the rule is unknown, a label holds vote counts, or `reliability` has no question with two votes.
        ModelError: if the rule is `reliability` and crowd-kit is not installed.
    """
    if rule not in get_args(AggregationRule):
        known = ", ".join(get_args(AggregationRule))
        raise DataError(f"The rule must be one of {known}, but got {rule!r}: correct it.")
    votes = list(votes)
    found = ballots(votes)
    deciding = {*PREFERENCES, "tie"} if ties else set(PREFERENCES)
    posterior = _posterior(votes) if rule == "reliability" else {}
    judged = {(x.pair_id, x.annotator): None if x.judgement is None else x.judgement.probability for x in votes}
    items: dict[str, list[TrainingShare]] = {}
    for question, given in found.items():
        voters, outcomes = tuple(given), list(given.values())
        items[question] = []
        if rule == "every":
            items[question] = [_of_one(outcome, (name,)) for name, outcome in given.items() if outcome in deciding]
        elif rule == "majority":
            winner = _most_common(outcomes)
            if winner in deciding:
                items[question] = [_of_one(winner, voters)]
        elif not deciding.isdisjoint(outcomes):
            soft = _worth({name: (outcome, judged[question, name]) for name, outcome in given.items()})
            worth = posterior[question] if rule == "reliability" else soft
            share, total = _split(worth, ties or rule == "soft")
            if total > 0:  # a posterior may underflow
                items[question] = [_item(share, total if rule == "reliability" else 1.0, voters)]
    return items


def _posterior(votes: list[Label]) -> Mapping[str, Mapping[str, float]]:
    fit = dawid_skene(votes)
    if fit is None:
        raise DataError(
            "Votes by `reliability` need a question with votes for a or b by two annotators, but no question has them: "
            "raise the overlap, or use `majority`, `soft` or `every`."
        )
    return fit.posterior


def _most_common(outcomes: Iterable[str]) -> str:
    """Return the outcome with the most votes; empty if several have the most."""
    first, *others = Counter(outcomes).most_common(2)
    return "" if others and others[0][1] == first[1] else first[0]


def _worth(given: Mapping[str, tuple[str, float | None]]) -> dict[str, float]:
    """Return the number of votes by outcome; a judge's vote is divided by its probability that a is better."""
    worth: dict[str, float] = {}
    for outcome, p in given.values():
        for name, part in {outcome: 1.0}.items() if p is None else (("a", p), ("b", 1 - p)):
            worth[name] = worth.get(name, 0.0) + part
    return worth


def _split(worth: Mapping[str, float], ties: bool) -> tuple[float, float]:
    """Return the share of a and the sum of what a, b and, if asked for, ties are worth."""
    a, b, tied = (worth.get(outcome, 0.0) for outcome in ("a", "b", "tie"))
    total = a + b + (tied if ties else 0.0)
    return (a + (tied / 2 if ties else 0.0)) / total if total else 0.5, total


def _of_one(outcome: str, voters: tuple[str, ...]) -> TrainingShare:
    """Return the item of one decision: a, b or tie."""
    return _item(0.5 if outcome == "tie" else float(outcome == "a"), 1.0, voters)


def _item(share_of_a: float, weight: float, voters: tuple[str, ...]) -> TrainingShare:
    chose_a = share_of_a >= 0.5
    return TrainingShare("a" if chose_a else "b", share_of_a if chose_a else 1 - share_of_a, weight, voters)
