"""What a study's labels say about its judge: a row per pair that the judge decided, with one person's vote.

Every pair has a coin, a hash of the study's seed and the pair's id. It is independent of the judge, of the threshold,
and of what people say. Its value, from 0 to 1, decides what the pair may be used for:

    below the audit fraction            audit: people always label it, whatever the judge says
    from 0.8 (or the audit fraction)    calibration: its vote orders the judge's confidences, and never tests them
    between                             an audit too while the judge is trusted with nothing: people label every pair
                                        then, so this is a random sample as well
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, fields
from typing import Any

import numpy as np
from numpy.typing import NDArray

from duelist.annotators.base import History
from duelist.judgement import Judgement
from duelist.people.votes import MISSING, PREFERENCES
from duelist.seeding import hash_uniform
from duelist.types import Label, Prompt, Question

CALIBRATION = 0.2  # share of the pairs that only calibrate


@dataclass(frozen=True)
class JudgedPairs:
    """The N pairs that a judge decided for a or b, in both orders.

    Attributes:
        round_N: the round that asked the pair.
        slice_N: its slice, a value of a column of the prompts.
        confidence_N: probability that the judge gave to its decision, from 0.5 to 1.
        coin_N: the pair's coin.
        taken_N: whether the judge's label counts.
        voted_N: whether a person said anything but `skip`.
        skipped_N: whether people said nothing but `skip`.
        error_N: whether the person's vote is not the judge's; False without a vote.
    """

    round_N: NDArray[np.int64]
    slice_N: NDArray[np.str_]
    confidence_N: NDArray[np.float64]
    coin_N: NDArray[np.float64]
    taken_N: NDArray[np.bool_]
    voted_N: NDArray[np.bool_]
    skipped_N: NDArray[np.bool_]
    error_N: NDArray[np.bool_]

    def only(self, which_N: NDArray[np.bool_]) -> JudgedPairs:
        """Return some of the pairs."""
        return JudgedPairs(*(getattr(self, f.name)[which_N] for f in fields(self)))

    def in_slices(self, names: Sequence[str]) -> JudgedPairs:
        """Return the pairs of some slices."""
        return self.only(np.isin(self.slice_N, np.array(names, np.str_)))

    def sampled(self, audit_fraction: float) -> NDArray[np.bool_]:
        """Return which pairs are a random sample of what people label: audits, those of an untrusted judge included."""
        group_N = np.array([f"{t}/{name}" for t, name in zip(self.round_N, self.slice_N, strict=True)], np.str_)
        untrusted_N = ~np.isin(group_N, np.unique(group_N[self.taken_N]))
        return (self.coin_N < audit_fraction) | (untrusted_N & (self.coin_N < calibration_from(audit_fraction)))


def calibration_from(audit_fraction: float) -> float:
    """Return the coin from which a pair calibrates."""
    return max(1 - CALIBRATION, audit_fraction)


def coin(seed: int, pair_id: str) -> float:
    """Return a pair's coin, in [0, 1)."""
    return hash_uniform(seed, "audit", pair_id)


def confidence(judgement: Judgement) -> float | None:
    """Return the probability that a judge gave to its decision; None unless it is a or b in both orders."""
    outcome, probability = judgement.outcome, judgement.probability
    if outcome not in PREFERENCES or probability is None:
        return None
    return probability if outcome == "a" else 1 - probability


def slice_of(question: Question, prompts: Any, column: str | None) -> str:
    """Return a pair's slice: the value in a column of its prompt, or "" without one."""
    prompt: Prompt = prompts[question.a.prompt_id]
    return "" if column is None else str(prompt.columns.get(column, ""))


def judged_pairs(history: History, judge: str, column: str | None, seed: int) -> JudgedPairs:
    """Return what earlier rounds say about a judge.

    Args:
        history: the questions and labels of earlier rounds.
        judge: the judge's name in its labels.
        column: the column of the prompts that holds the slice; None for one slice.
        seed: the annotator's seed.
    """
    by_pair: dict[str, list[Label]] = {}
    judged: list[Label] = []
    for label in history.labels:
        if label.annotator == judge and label.judgement is not None:
            judged.append(label)
        elif not label.advisory:  # a person, or a better judge in the place of people
            by_pair.setdefault(label.pair_id, []).append(label)
    rows: list[tuple[Any, ...]] = []
    for own in judged:
        assert own.judgement is not None
        sure = confidence(own.judgement)
        if sure is None:
            continue
        question = history.questions[own.pair_id]
        given = by_pair.get(own.pair_id, [])
        vote = one_vote(given, seed)
        skipped = vote is None and bool(given)
        wrong = vote is not None and vote != own.outcome
        name = slice_of(question, history.prompts, column)
        rows.append(
            (question.round, name, sure, coin(seed, own.pair_id), not own.advisory, vote is not None, skipped, wrong)
        )
    columns = list(zip(*rows, strict=True)) or [()] * len(fields(JudgedPairs))
    types = (np.int64, np.str_, np.float64, np.float64, np.bool_, np.bool_, np.bool_, np.bool_)
    return JudgedPairs(*(np.array(values, dtype) for values, dtype in zip(columns, types, strict=True)))


def one_vote(labels: Iterable[Label], seed: int) -> str | None:
    """Return what one person says of a pair, drawn at random from those with a vote; None if there is none.

    A skip is no vote, nor is a judge's contradiction, and an adjudicator is not one of the people whose disagreement is
    measured. From a label with vote counts, one of the voters is drawn.
    """
    votes = [x for x in labels if x.outcome not in MISSING and not x.adjudicates]
    if not votes:
        return None
    drawn = min(votes, key=lambda x: hash_uniform(seed, "vote", x.pair_id, x.annotator))
    counts = drawn.votes
    total = 0 if counts is None else counts.n_a + counts.n_b + counts.n_eq
    if counts is None or total == 0:
        return drawn.outcome
    place = hash_uniform(seed, "voter", drawn.pair_id) * total
    return "a" if place < counts.n_a else "b" if place < counts.n_a + counts.n_b else "tie"
