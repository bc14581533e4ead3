"""Statistics of a comparison, as pure functions.

Reference: Student, "The probable error of a mean", Biometrika 6, 1908; Settles, "Active Learning", 2012 (curves).
Formula:   interval: mean ± t(0.975, S − 1) · s / √S;  paired: the same of the differences d_s = a_s − b_s within seeds,
           p = 2 P(T > |mean d| / (s_d / √S)), T Student's with S − 1 degrees of freedom;
           detectable: δ with P(|T| > t(1 − level/2, S − 1)) = power, T noncentral with parameter δ √S / s_d;
           area: ∫ value d(labels) / (highest − lowest label count), by trapezoids;
           labels to a target: the first label count at which the curve, linear between measurements, is at the target.

S is the number of seeds. E is the number of evaluations of one study: one of the initial model, one after each round.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import stats
from scipy.optimize import brentq

LEVEL, POWER = 0.95, 0.8
FEWEST_SEEDS = 8  # with fewer, the comparison warns that it decides nothing
ROUNDING = 1e-12
Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Mean:
    """Mean over seeds with the half width of its 95 % t-interval.

    Attributes:
        mean: mean over seeds.
        half_width: half width of the interval `mean` ± `half_width`; None for one seed, which has no interval.
        seeds: number of seeds.
    """

    mean: float
    half_width: float | None
    seeds: int


@dataclass(frozen=True)
class Paired:
    """Paired difference between two arms on the same seeds.

    Attributes:
        difference: mean of the paired differences.
        p_value: p-value of the two-sided paired t-test; None for one seed.
        wins: number of seeds on which the arm is better.
        ties: number of seeds on which both arms are exactly equal.
    """

    difference: Mean
    p_value: float | None
    wins: int
    ties: int


def mean_interval(values_S: Sequence[float] | Floats) -> Mean:
    """Return the mean of one or more values with its 95 % t-interval."""
    values = np.asarray(values_S, dtype=np.float64)
    n = len(values)
    if n < 2:
        return Mean(float(values.mean()), None, n)
    half_width = stats.t.ppf((1 + LEVEL) / 2, n - 1) * values.std(ddof=1) / np.sqrt(n)
    return Mean(float(values.mean()), float(half_width), n)


def paired(values_S: Sequence[float], baseline_S: Sequence[float], higher_is_better: bool = True) -> Paired:
    """Compare values with a baseline's values on the same seeds, in the same order."""
    difference_S = np.asarray(values_S, dtype=np.float64) - np.asarray(baseline_S, dtype=np.float64)
    better_S = difference_S > 0 if higher_is_better else difference_S < 0
    n = len(difference_S)
    p_value: float | None = None
    if n > 1:
        if np.ptp(difference_S) > ROUNDING * np.abs(difference_S).max():
            p_value = float(stats.ttest_rel(values_S, baseline_S).pvalue)
        else:  # T is 0 / 0 (equal arms, p = 1) or infinite (a constant difference, p = 0)
            p_value = 0.0 if difference_S[0] else 1.0
    return Paired(mean_interval(difference_S), p_value, int(better_S.sum()), int((difference_S == 0).sum()))


def detectable(deviation: float, seeds: int, level: float, power: float = POWER) -> float:
    """Return the mean difference that a paired t-test finds with the given probability.

    Args:
        deviation: standard deviation of the differences within seeds.
        seeds: number of seeds, two or more.
        level: of the two-sided test.
        power: the probability.
    """
    limit = stats.t.ppf(1 - level / 2, seeds - 1) ** 2

    def found(parameter: float) -> float:
        return float(stats.ncf.sf(limit, 1, seeds - 1, parameter**2)) - power  # T² is a noncentral F

    highest = 1.0
    while found(highest) < 0:
        highest *= 2
    return float(brentq(found, 1e-6, highest) * deviation / np.sqrt(seeds))


def area_under(labels_E: Floats, values_E: Floats, lowest: float, highest: float) -> float:
    """Return the area under a learning curve between two label counts, divided by their distance: its mean height.

    Args:
        labels_E: label counts, strictly increasing; they must cover `lowest` to `highest`.
        values_E: metric at those label counts; linear between them.
        lowest: label count at which the area begins.
        highest: label count at which it ends; if equal to `lowest`, the result is the height there.
    """
    if highest == lowest:
        return value_at(labels_E, values_E, lowest)
    inside = (labels_E > lowest) & (labels_E < highest)
    x = np.concatenate([[lowest], labels_E[inside], [highest]])
    return float(np.trapezoid(np.interp(x, labels_E, values_E), x) / (highest - lowest))


def value_at(labels_E: Floats, values_E: Floats, labels: float) -> float:
    """Return the learning curve's height at a label count, linear between measurements."""
    return float(np.interp(labels, labels_E, values_E))


def labels_to_target(labels_E: Floats, values_E: Floats, target: float, higher_is_better: bool = True) -> float | None:
    """Return the first label count at which a curve reaches the target, linear between measurements; None if never."""
    sign = 1 if higher_is_better else -1
    (found,) = labels_to_targets(labels_E, sign * values_E[None], np.array([sign * target])).tolist()
    return None if math.isinf(found) else found


def labels_to_targets(labels_E: Floats, values_XE: Floats, target_X: Floats) -> Floats:
    """Return the same for X curves of which higher is better, each with its target, `[X]`; infinite if never."""
    gap_XE = values_XE - target_X[:, None]
    # The target is often one of these values, computed in another order: rounding must not make it unreachable.
    reached_XE = gap_XE >= -ROUNDING * np.maximum(1.0, np.abs(target_X))[:, None]
    at_X = reached_XE.argmax(axis=1)
    before_X, row_X = np.maximum(at_X - 1, 0), np.arange(len(gap_XE))
    gap_X = gap_XE[row_X, before_X]
    rise_X = np.where(at_X > 0, gap_XE[row_X, at_X] - gap_X, 1.0)
    found_X = labels_E[before_X] + np.minimum(1.0, -gap_X / rise_X) * (labels_E[at_X] - labels_E[before_X])
    return np.where(reached_XE.any(axis=1), np.where(at_X > 0, found_X, labels_E[0]), np.inf)


def median_with_never(values: Sequence[float | None]) -> float | None:
    """Return the median, where None means "never", later than any number. Return None if the median is "never"."""
    ordered: list[Any] = [float("inf") if v is None else v for v in values]
    median = float(np.median(ordered)) if ordered else float("inf")
    return median if np.isfinite(median) else None
