"""Who answered: people and simulated annotators, judges, and what a cascade's judge was trusted with."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from math import isfinite
from statistics import median
from typing import TYPE_CHECKING, Any

from duelist.cascade.words import in_words
from duelist.judges.summary import JudgeUse, judges_of
from duelist.report.formats import count, duration, ends, number, share
from duelist.report.record import Arm
from duelist.store.decisions import question_of
from duelist.types import Answer, Label

if TYPE_CHECKING:
    from duelist.people.intervals import Estimate

MISSING = ("skip",)


@dataclass(frozen=True)
class AnnotatorRow:
    """One annotator's answers; text is a dash where there is nothing to judge by.

    Attributes:
        name: the annotator.
        answers: number of answers, with skips.
        skips: of these, skips.
        first: share of choices for the response shown first, with its 95 % interval.
        biased: whether that share is a position bias (Holm-adjusted exact test at 5 %).
        seconds: median time of an answer.
    """

    name: str
    answers: int
    skips: int
    first: str
    biased: bool
    seconds: str


@dataclass(frozen=True)
class Answering:
    """Contents of the section.

    Attributes:
        arm: name of the study.
        annotators: a row per annotator, without judges, most answers first.
        agreement: sentences on how far annotators agree.
        judges: what each judge did.
        trust: what a cascade's judge was trusted with: a round's number and sentences, latest first.
    """

    arm: str
    annotators: Sequence[AnnotatorRow]
    agreement: Sequence[str]
    judges: Sequence[JudgeUse]
    trust: Sequence[tuple[int, Sequence[str]]]


def answering(arm: Arm) -> Answering:
    """Return who answered a study."""
    given = [x for x in arm.answers if not (isinstance(x, Label) and x.judgement is not None)]
    votes = [x for x in given if isinstance(x, Label) and x.votes is None]
    stages = sorted((s for s in arm.stages if s.name == "prelabel"), key=lambda s: -s.round)
    return Answering(
        arm.label,
        _annotators(given, votes),
        _agreement(votes, given),
        judges_of(arm.judged),
        [(s.round, in_words(s.info)) for s in stages],
    )


def _annotators(given: Sequence[Label | Answer], votes: Sequence[Label]) -> list[AnnotatorRow]:
    positions: dict[str, Any] = {}
    if any(vote.shown is not None for vote in votes):
        from duelist.people.habits import position  # takes SciPy's statistics, slow to import

        positions = position(votes)
    times: dict[str, list[float]] = {}
    for x in given:
        if x.seconds is not None and x.outcome not in MISSING:
            times.setdefault(x.annotator, []).append(x.seconds)
    counts = Counter(x.annotator for x in given)
    skips = Counter(x.annotator for x in given if x.outcome in MISSING)
    rows = []
    for name, n in sorted(counts.items(), key=lambda item: (-item[1], item[0])):
        found = positions.get(name)
        rows.append(
            AnnotatorRow(
                name=name,
                answers=n,
                skips=skips[name],
                first="–" if found is None else f"{share(found.first.value, found.first.n)} ({_ends(found.first)})",
                biased=found is not None and found.biased,
                seconds=duration(median(times[name])) if name in times else "–",
            )
        )
    return rows


def _agreement(votes: Sequence[Label], given: Sequence[Label | Answer]) -> list[str]:
    """Return sentences on the agreement of annotators who answered the same pairs."""
    own = [vote for vote in votes if not vote.adjudicates]
    voters: dict[str, set[str]] = {}
    for x in given:
        voters.setdefault(question_of(x), set()).add(x.annotator)
    shared = sum(len(names) > 1 for names in voters.values())
    if not shared:
        return ["No question was answered by two annotators, so agreement is not known."] if given else []
    from duelist.people.agreement import krippendorff_alpha, pairwise_agreement

    were = "was" if shared == 1 else "were"
    found = [f"{count(shared, 'question')} of {len(voters):,} {were} answered by several annotators."]
    pairwise = pairwise_agreement(own)
    if pairwise is None:
        return found
    found.append(f"Two annotators agree on {share(pairwise.value, pairwise.n)} pairs of votes ({_ends(pairwise)}).")
    if find_spec("krippendorff") is None:
        return [*found, "Krippendorff's α needs Duelist's extra `annotate`."]
    alpha = krippendorff_alpha(own)
    if alpha is not None:
        found.append(f"Krippendorff's α is {number(alpha.value, 2)} ({_ends(alpha)}).")
    return found


def _ends(estimate: Estimate) -> str:
    """Format a 95 % interval; an end that too few observations bound is left open."""
    low, high = estimate.low, estimate.high
    if isfinite(low) and isfinite(high):
        return "95 % interval " + ends((low, high), 2)
    return "too few for an interval"
