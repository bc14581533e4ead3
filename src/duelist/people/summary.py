"""Report on a study's annotators: agreement of all, and reliability and habits of each."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from math import isfinite
from typing import Any

from duelist.people.agreement import RESAMPLES, krippendorff_alpha, pairwise_agreement
from duelist.people.habits import Position, gold_accuracy, position, self_consistency, speed
from duelist.people.intervals import Estimate
from duelist.people.reliability import dawid_skene
from duelist.people.votes import MISSING, ballots, shared_questions
from duelist.types import Label

POSITION_BIAS = "position bias"


@dataclass(frozen=True)
class Agreement:
    """Agreement on a set of questions; None where too few votes overlap.

    Attributes:
        pairwise: share of agreeing pairs of votes.
        alpha: Krippendorff's α, symmetrised over the sides.
    """

    pairwise: Estimate | None
    alpha: Estimate | None


@dataclass(frozen=True)
class AnnotatorReport:
    """One annotator's votes; None where there is nothing to judge by.

    Attributes:
        annotator: the name.
        votes: number of votes, with skips.
        skips: number of skips; of a judge, of verdicts that contradict one another or cannot be read.
        reliability: probability of the right outcome under the one-coin Dawid–Skene model.
        shared: number of questions shared with another annotator, without gold questions.
        position: choices by place on the screen.
        seconds: median seconds per vote.
        consistency: share of repeated questions that got the same outcome.
        gold: accuracy on gold questions.
    """

    annotator: str
    votes: int
    skips: int
    reliability: float | None
    shared: int
    position: Position | None
    seconds: Estimate | None
    consistency: Estimate | None
    gold: Estimate | None

    @property
    def remarks(self) -> tuple[str, ...]:
        """What the owner should know, such as "position bias"."""
        return (POSITION_BIAS,) if self.position is not None and self.position.biased else ()


@dataclass(frozen=True)
class PeopleReport:
    """Statistics of a study's annotators.

    Attributes:
        votes: number of votes, with skips.
        questions: number of questions voted on, gold questions included.
        every_question: agreement on all questions that are not gold.
        random_slice: agreement on the random slice; None if the study has none.
        annotators: the annotators, sorted by name.
    """

    votes: int
    questions: int
    every_question: Agreement
    random_slice: Agreement | None
    annotators: tuple[AnnotatorReport, ...]

    def as_rows(self) -> list[dict[str, Any]]:
        """Return a row per statistic: `of`, `statistic`, `value`, `low`, `high`, `n`, `remark`.

        `of` is "all questions", "random slice" or "annotator". `annotator` is the name, None for agreement. Values that
        do not exist, and unbounded ends of an interval, are None.
        """
        rows = []
        for name, agreement in (("all questions", self.every_question), ("random slice", self.random_slice)):
            if agreement is not None:
                rows.append(_row(name, None, "pairwise agreement", agreement.pairwise))
                rows.append(_row(name, None, "Krippendorff's α", agreement.alpha))
        for one in self.annotators:
            chosen = None if one.position is None else one.position.first
            rows += [
                _count("votes", one.annotator, one.votes, one.votes),
                _count("skips", one.annotator, one.skips, one.votes),
                _count("reliability", one.annotator, one.reliability, one.shared),
                _row("annotator", one.annotator, "chose the first", chosen, ", ".join(one.remarks)),
                _row("annotator", one.annotator, "median seconds", one.seconds),
                _row("annotator", one.annotator, "self-consistency", one.consistency),
                _row("annotator", one.annotator, "gold accuracy", one.gold),
            ]
        return rows


def people_report(
    votes: Iterable[Label],
    gold: Mapping[str, str] | None = None,
    random_slice: Collection[str] | None = None,
    *,
    reliability: bool = True,
    seed: int = 0,
    resamples: int = RESAMPLES,
) -> PeopleReport:
    """Return the statistics of a study's annotators.

    Gold questions count for gold accuracy, position, speed and self-consistency. They are left out of agreement and
    reliability, because they are chosen to be clear; adjudicators' decisions, because they are on disputed questions.

    Args:
        votes: labels in order of arrival, without those that were undone.
        gold: the known outcome by gold question.
        random_slice: questions that were drawn at random. People agree less on pairs that a rule selected.
        reliability: whether to fit the Dawid–Skene model, which needs crowd-kit.
        seed: seed of the bootstrap.
        resamples: number of bootstrap resamples.

    Raises:
        DataError: if a label holds vote counts, or an argument is not usable.
        ModelError: if a library that is needed is not installed.
    """
    votes, known = list(votes), dict(gold or {})
    own = [vote for vote in votes if vote.pair_id not in known and not vote.adjudicates]

    def agreement(questions: Collection[str] | None) -> Agreement:
        alpha = krippendorff_alpha(own, questions, seed=seed, resamples=resamples)
        return Agreement(pairwise_agreement(own, questions), alpha)

    fit = dawid_skene(own) if reliability else None
    shared = shared_questions(ballots(own))
    positions, seconds, consistency = position(votes), speed(votes), self_consistency(votes)
    right = gold_accuracy(votes, known)
    cast, skips = Counter(v.annotator for v in votes), Counter(v.annotator for v in votes if v.outcome in MISSING)
    return PeopleReport(
        votes=len(votes),
        questions=len({vote.pair_id for vote in votes}),
        every_question=agreement(None),
        random_slice=None if random_slice is None else agreement(random_slice),
        annotators=tuple(
            AnnotatorReport(
                annotator=name,
                votes=cast[name],
                skips=skips[name],
                reliability=None if fit is None else fit.skill.get(name),
                shared=shared.get(name, 0),
                position=positions.get(name),
                seconds=seconds.get(name),
                consistency=consistency.get(name),
                gold=right.get(name),
            )
            for name in sorted(cast)
        ),
    )


def _row(of: str, annotator: str | None, statistic: str, found: Estimate | None, remark: str = "") -> dict[str, Any]:
    value, low, high, n = (None, None, None, 0) if found is None else (found.value, found.low, found.high, found.n)
    ends = {name: end if end is not None and isfinite(end) else None for name, end in (("low", low), ("high", high))}
    return {"of": of, "annotator": annotator, "statistic": statistic, "value": value, **ends, "n": n, "remark": remark}


def _count(statistic: str, annotator: str, value: float | None, n: int) -> dict[str, Any]:
    """Return the row of a number without interval."""
    return {**_row("annotator", annotator, statistic, None), "value": value, "n": n}
