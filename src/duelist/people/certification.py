"""Threshold above which a judge's error is certified to be small, by people's votes on random pairs.

Reference: Clopper and Pearson, Biometrika 26, 1934 (exact bound); Maurer, Hothorn and Lehmacher, "Multiple comparisons
           in drug clinical trials and preclinical assays: a-priori ordered hypotheses", 1995 (fixed sequence);
           Angelopoulos et al., "Learn then test", arXiv 2110.01052 (thresholds of a predictor); Hoeffding, Annals of
           Mathematical Statistics 27, 1956 (errors that are not equally probable).
Formula:   k errors in n audits certify an error of at most ε with probability 1 − α if P(Binomial(n, ε) ≤ k) ≤ α, which
           is the same as: the one-sided Clopper–Pearson bound of k and n is at most ε. Without errors: n ≥ ln α /
           ln(1 − ε). Thresholds are tested from the strictest to the laxest; the first that fails ends the sequence.
           So each is tested at α, and the probability that any threshold with a larger error is certified is at most
           α: it must be the first such threshold that passes. By Hoeffding, the same holds for the mean of unequal
           error probabilities, because a k that passes is below n ε − 1.

Which thresholds are tested depends on the scores alone, never on the errors.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import scipy
from numpy.typing import NDArray

from duelist.errors import DataError
from duelist.people.intervals import clopper_pearson

STEPS = 8  # largest number of thresholds that are tested
SPARE = 1  # errors that the strictest threshold may survive, if there are enough audits


@dataclass(frozen=True)
class Certificate:
    """Result of testing thresholds on a judge's scores.

    Attributes:
        threshold: the laxest score that is certified; None if none is.
        audits: number of audits at or above the threshold; without one, those of the strictest threshold tested, or all
            if they were too few to test any.
        errors: number of errors among them.
        bound: upper confidence bound of the error among such pairs; 1 without audits.
    """

    threshold: float | None
    audits: int
    errors: int
    bound: float


def passes(errors: int, audits: int, max_error: float, alpha: float) -> bool:
    """Return whether so many errors in so many audits certify an error of at most `max_error` at level 1 − `alpha`."""
    return audits > 0 and bool(scipy.stats.binom.cdf(errors, audits, max_error) <= alpha)


def error_bound(errors: int, audits: int, alpha: float) -> float:
    """Return the upper Clopper–Pearson bound of an error, at level 1 − `alpha`; 1 without audits."""
    return clopper_pearson(errors, audits, 1 - 2 * alpha)[1] if audits else 1.0


@lru_cache(maxsize=1024)
def audits_needed(max_error: float, alpha: float, errors: int = 0) -> int:
    """Return the least number of audits with which so many errors certify `max_error` at level 1 − `alpha`.

    Raises:
        DataError: if `max_error` or `alpha` is not between 0 and 1.
    """
    for name, value in (("max_error", max_error), ("alpha", alpha)):
        if not 0 < value < 1:
            raise DataError(f"{name} must be between 0 and 1, but got {value!r}: correct it.")
    above = max(1, math.ceil(math.log(alpha) / math.log1p(-max_error)))
    while not passes(errors, above, max_error, alpha):
        above *= 2
    below = errors  # so many audits, all of them errors, certify nothing
    while above - below > 1:
        middle = (below + above) // 2
        below, above = (below, middle) if passes(errors, middle, max_error, alpha) else (middle, above)
    return above


def thresholds(score_N: NDArray[np.float64], max_error: float, alpha: float) -> list[float]:
    """Return the thresholds to test, the strictest first; none if there are too few audits.

    Each leaves at least the audits that certify without an error. The strictest leaves those that certify with one
    error, so that one unlucky vote does not stop the sequence, or all if they are fewer. At most eight are tested.
    """
    n = len(score_N)
    if n < audits_needed(max_error, alpha):
        return []
    first = min(n, audits_needed(max_error, alpha, SPARE))
    ordered_N = np.sort(score_N)[::-1]
    rank_X = np.ceil(np.linspace(first, n, STEPS)).astype(int)
    return list(dict.fromkeys(ordered_N[rank_X - 1].tolist()))


def certify(score_N: NDArray[np.float64], error_N: NDArray[np.bool_], max_error: float, alpha: float) -> Certificate:
    """Return the laxest threshold above which a judge's error is at most `max_error`, with probability 1 − `alpha`.

    Args:
        score_N: how sure the judge was of each audited pair; any increasing scale.
        error_N: whether a person disagreed.
        max_error: the largest error allowed.
        alpha: largest probability that the threshold's error is larger nevertheless.
    """
    found: Certificate | None = None
    for threshold in thresholds(score_N, max_error, alpha):
        above_N = score_N >= threshold
        audits, errors = int(above_N.sum()), int(error_N[above_N].sum())
        passed = passes(errors, audits, max_error, alpha)
        if passed or found is None:
            bound = error_bound(errors, audits, alpha)
            found = Certificate(threshold if passed else None, audits, errors, bound)
        if not passed:
            break
    if found is None:
        audits, errors = len(error_N), int(error_N.sum())
        found = Certificate(None, audits, errors, error_bound(errors, audits, alpha))
    return found
