"""Agreement between annotators: pairwise, and Krippendorff's α for questions whose sides are arbitrary.

Reference: Krippendorff, "Computing Krippendorff's alpha-reliability", 2011 (nominal data with missing values);
           Efron and Tibshirani, "An Introduction to the Bootstrap", 1993 (percentile interval).
Formula:   α = 1 − D_o / D_e; D_o = Σ over votes that disagree with another vote on their question, each weighted by
           1 / (votes on the question − 1); D_e = (n² − Σ_c n_c²) / (n − 1), with n_c votes of outcome c, n in all.
           Which response is called a is arbitrary. So α is computed on the questions together with their mirrored
           copies (a for b): n_a = n_b, and swapping the sides of any question changes nothing.

The outcomes `tie`, `both_bad` and `both_good` are values like `a` and `b`; a skip is a missing value, as are a judge's
`inconsistent` and `unparsed`. Questions with fewer than two votes say nothing. X is the number of outcomes, G of
groups of questions whose votes are equal up to their sides, K of bootstrap resamples.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable

import numpy as np
from numpy.typing import NDArray

from duelist.errors import DataError
from duelist.people.intervals import LEVEL, Estimate, clustered_proportion
from duelist.people.libraries import optional_library
from duelist.people.votes import PREFERENCES, ballots
from duelist.seeding import generator
from duelist.types import Label

RESAMPLES = 1000
FEWEST_RESAMPLES = 100  # with fewer, the 2.5 % quantile is one resample or two


def pairwise_agreement(votes: Iterable[Label], questions: Collection[str] | None = None) -> Estimate | None:
    """Return the share of agreeing pairs of votes, over all pairs of annotators on the same question.

    The interval is Korn and Graubard's (`intervals.clustered_proportion`) with a cluster per question, because three
    votes on a question are three pairs that depend on one another. Unlike a bootstrap over questions, it has a positive
    width if all votes agree. With two votes on every question it is close to Clopper–Pearson's.

    Args:
        votes: labels in order of arrival.
        questions: ids of the questions to use, such as a random slice; None for all.

    Returns:
        The estimate, where `n` counts pairs of votes; None if no question has two votes.
    """
    count_NX = _counts(votes, questions)
    agreeing_N = (count_NX * (count_NX - 1)).sum(axis=1) // 2
    size_N = count_NX.sum(axis=1)
    return clustered_proportion(agreeing_N.tolist(), (size_N * (size_N - 1) // 2).tolist())


def krippendorff_alpha(
    votes: Iterable[Label], questions: Collection[str] | None = None, *, seed: int = 0, resamples: int = RESAMPLES
) -> Estimate | None:
    """Return Krippendorff's nominal α, symmetrised over the sides, with a bootstrap interval over questions.

    α is 1 if all agree and about 0 if they vote at random. The interval is the percentile interval. It is too narrow
    for few questions, and has no width if all agree. Resamples in which all votes are equal have no α; they are left
    out.

    Args:
        votes: labels in order of arrival.
        questions: ids of the questions to use, such as a random slice; None for all.
        seed: seed of the bootstrap.
        resamples: number of bootstrap resamples, 100 or more.

    Returns:
        The estimate, where `n` counts questions; None if no question has two votes, or all votes are one outcome
        other than a and b.

    Raises:
        DataError: if there are too few resamples, or a label holds vote counts.
        ModelError: if the library krippendorff is not installed.
    """
    if resamples < FEWEST_RESAMPLES:
        raise DataError(f"resamples must be at least {FEWEST_RESAMPLES}, but got {resamples}: use more.")
    count_NX = _counts(votes, questions)
    if np.count_nonzero((count_NX + _mirrored(count_NX)).any(axis=0)) < 2:
        return None
    krippendorff = optional_library("krippendorff", "krippendorff", "Krippendorff's α")
    both = np.concatenate([count_NX, _mirrored(count_NX)])
    value = float(krippendorff.alpha(value_counts=both, level_of_measurement="nominal"))
    alpha_K = _resampled_alpha(count_NX, seed, resamples)
    low, high = np.quantile(alpha_K, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return Estimate(value, float(low), float(high), len(count_NX))


def _counts(votes: Iterable[Label], questions: Collection[str] | None) -> NDArray[np.int64]:
    """Return how often each outcome was given on each question with two votes or more; columns a, b, then others."""
    wanted = None if questions is None else set(questions)
    tallies = [
        Counter(by_annotator.values())
        for question, by_annotator in ballots(votes).items()
        if len(by_annotator) > 1 and (wanted is None or question in wanted)
    ]
    outcomes = (*PREFERENCES, *sorted({outcome for tally in tallies for outcome in tally} - set(PREFERENCES)))
    rows = [[tally[outcome] for outcome in outcomes] for tally in tallies]
    return np.array(rows, dtype=np.int64).reshape(len(rows), len(outcomes))


def _mirrored(count_NX: NDArray[np.int64]) -> NDArray[np.int64]:
    return count_NX[:, [1, 0, *range(2, count_NX.shape[1])]]


def _resampled_alpha(count_NX: NDArray[np.int64], seed: int, resamples: int) -> NDArray[np.float64]:
    """Return α of each resample of the questions, `[K]` or fewer.

    α depends on sums over questions only. So a resample draws how often each kind of question occurs, where a kind is
    one pattern of counts, whatever its sides, name and place. The draw is the same for any order and orientation.
    """
    larger_N, smaller_N = count_NX[:, :2].max(axis=1), count_NX[:, :2].min(axis=1)
    canonical_NX = np.column_stack([larger_N, smaller_N, count_NX[:, 2:]])
    count_GX, times_G = np.unique(canonical_NX, axis=0, return_counts=True)
    total_GX = count_GX + _mirrored(count_GX)
    agreeing_G = 2 * (count_GX * (count_GX - 1)).sum(axis=1) / (count_GX.sum(axis=1) - 1)
    questions = len(count_NX)
    drawn_KG = generator(seed, "people", "alpha").multinomial(questions, times_G / questions, size=resamples)
    total_KX = drawn_KG @ total_GX
    total_K = total_KX.sum(axis=1)
    expected_K = (total_K**2 - np.square(total_KX).sum(axis=1)) / (total_K - 1)
    varied_K = expected_K > 0
    observed_K = total_K - drawn_KG @ agreeing_G
    alpha_K: NDArray[np.float64] = 1 - observed_K[varied_K] / expected_K[varied_K]
    return alpha_K
