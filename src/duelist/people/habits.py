"""How each annotator works: position bias, speed, consistency on repeated questions, and accuracy on gold questions.

Reference: Clopper and Pearson, Biometrika 26, 1934; Holm, Scandinavian Journal of Statistics 6, 1979.
Formula:   position: share of votes for the response shown first, among votes for a or b. Its p-value is that of the
           exact two-sided test of 1/2, multiplied by Holm's factors over annotators. "Position bias" is reported at
           p ≤ 0.05. So it means that the Clopper–Pearson interval, widened for the number of annotators, excludes 1/2,
           and at most 5 % of studies without any bias report one.

Every vote counts here, also an annotator's earlier votes on a question. Leave out votes that were undone.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Hashable, Iterable, Mapping
from dataclasses import dataclass
from math import comb
from typing import TypeVar

from scipy import stats

from duelist.errors import DataError
from duelist.people.intervals import LEVEL, Estimate, clustered_proportion, median, proportion
from duelist.people.votes import MISSING, PREFERENCES, ballots
from duelist.types import Label

Key = TypeVar("Key", bound=Hashable)


@dataclass(frozen=True)
class Position:
    """An annotator's choices by place on the screen.

    Attributes:
        first: share of choices for the response shown first, with its Clopper–Pearson interval for this annotator
            alone; `n` counts votes for a or b whose order on the screen is known.
        p_value: of the exact test that this share is 1/2, adjusted for the number of annotators (Holm).
    """

    first: Estimate
    p_value: float

    @property
    def biased(self) -> bool:
        """Whether to report position bias."""
        return self.p_value <= 1 - LEVEL


def position(votes: Iterable[Label]) -> dict[str, Position]:
    """Return the positions that each annotator chose; without annotators who have no vote to judge by."""
    firsts: dict[str, list[bool]] = defaultdict(list)
    for vote in votes:
        if vote.outcome in PREFERENCES and vote.shown is not None:
            firsts[vote.annotator].append(vote.shown[0] == vote.outcome)
    chosen = {name: (sum(first), len(first)) for name, first in sorted(firsts.items())}
    p_values = holm({name: float(stats.binomtest(*counts).pvalue) for name, counts in chosen.items()})
    shares = {name: proportion(*counts) for name, counts in chosen.items()}
    return {name: Position(share, p_values[name]) for name, share in shares.items() if share is not None}


def holm(p_values: Mapping[Key, float]) -> dict[Key, float]:
    """Return p-values adjusted for their number by Holm's step-down method, in the same order."""
    adjusted, highest = {}, 0.0
    for rank, (name, p) in enumerate(sorted(p_values.items(), key=lambda item: item[1])):
        highest = max(highest, min(1.0, (len(p_values) - rank) * p))
        adjusted[name] = highest
    return {name: adjusted[name] for name in p_values}


def speed(votes: Iterable[Label]) -> dict[str, Estimate]:
    """Return each annotator's median seconds per vote; skips and votes without a time are left out."""
    seconds: dict[str, list[float]] = defaultdict(list)
    for vote in votes:
        if vote.outcome not in MISSING and vote.seconds is not None:
            seconds[vote.annotator].append(vote.seconds)
    found = {name: median(values) for name, values in sorted(seconds.items())}
    return {name: estimate for name, estimate in found.items() if estimate is not None}


def self_consistency(votes: Iterable[Label]) -> dict[str, Estimate]:
    """Return how often each annotator repeats the outcome when asked the same question again.

    Outcomes name responses, not places on the screen, so the order shown does not matter. More than two votes on one
    question give all their pairs, and the interval takes their dependence into account
    (`intervals.clustered_proportion`). `n` counts pairs of votes. Skips are left out.
    """
    given: dict[str, dict[str, Counter[str]]] = defaultdict(lambda: defaultdict(Counter))
    for vote in votes:
        if vote.outcome not in MISSING:
            given[vote.annotator][vote.pair_id][vote.outcome] += 1
    found = {}
    for name, by_question in sorted(given.items()):
        tallies = list(by_question.values())
        hits = [sum(comb(n, 2) for n in tally.values()) for tally in tallies]
        found[name] = clustered_proportion(hits, [comb(tally.total(), 2) for tally in tallies])
    return {name: estimate for name, estimate in found.items() if estimate is not None}


def gold_accuracy(votes: Iterable[Label], gold: Mapping[str, str]) -> dict[str, Estimate]:
    """Return each annotator's accuracy on questions with a known answer; `n` counts these questions.

    The last vote on a question counts. Skips are left out.

    Args:
        votes: labels in order of arrival.
        gold: the known outcome by question.

    Raises:
        DataError: if a known outcome is a skip, or a label holds vote counts.
    """
    for question, answer in gold.items():
        if answer in MISSING:
            raise DataError(f"A known answer must be an outcome, but question {question} has {answer!r}: correct it.")
    right: dict[str, list[bool]] = defaultdict(list)
    for question, given in ballots(vote for vote in votes if vote.pair_id in gold).items():
        for name, outcome in given.items():
            right[name].append(outcome == gold[question])
    found = {name: proportion(sum(hits), len(hits)) for name, hits in sorted(right.items())}
    return {name: estimate for name, estimate in found.items() if estimate is not None}
