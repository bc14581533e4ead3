"""Statistics of the suite's two questions, as pure functions: is a rule ever worse, and how much does it save?

Reference: Fieller, "Some problems in interval estimation", JRSS B 16, 1954 (ratio of means); Barlow, Bartholomew,
           Bremner, Brunk, "Statistical inference under order restrictions", 1972 (isotonic curves); Efron and
           Tibshirani, "An introduction to the bootstrap", 1993 (percentile interval over seeds).
Formula:   share of the gain: all L with |mean(d − L g)| <= t(0.975, S − 1) · s(d − L g)/√S, d and g within seeds;
           effort to the end: where the isotonic mean curve of an arm first reaches the last value of the baseline's.

S is the number of seeds, E the number of evaluations of a study, X the number of bootstrap samples. Higher is better.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import stats

from duelist.compare.statistics import LEVEL, Floats, labels_to_targets, mean_interval

BOOTSTRAP = 9999  # samples of seeds: the least p is 1/10,000
HALF = 0.5  # of the baseline's effort: what a rule that saves needs at most


@dataclass(frozen=True)
class Interval:
    """Estimate with the ends of its 95 % interval."""

    value: float
    low: float
    high: float


@dataclass(frozen=True)
class Effort:
    """Effort with which an arm reaches the baseline's end, as a share of the baseline's whole effort.

    Attributes:
        share: estimate with its bootstrap interval; infinite means never.
        p_half: one-sided p-value of "it needs more than half".
    """

    share: Interval
    p_half: float


def share_of_gain(difference_S: Floats, gain_S: Floats) -> Interval | None:
    """Return the ratio of two means over the same seeds, with Fieller's interval.

    Returns:
        None with fewer than two seeds, or if the gain cannot be told from 0 or less: then no interval is bounded.
    """
    n = len(gain_S)
    gain = mean_interval(gain_S)
    if gain.half_width is None or gain.mean <= gain.half_width:
        return None
    t2 = float(stats.t.ppf((1 + LEVEL) / 2, n - 1)) ** 2
    cov_22 = np.cov(np.stack([difference_S, gain_S])) / n
    d, g = float(np.mean(difference_S)), float(gain.mean)
    a, b, c = g * g - t2 * cov_22[1, 1], d * g - t2 * cov_22[0, 1], d * d - t2 * cov_22[0, 0]
    root = float(np.sqrt(max(b * b - a * c, 0.0)))
    return Interval(d / g, float((b - root) / a), float((b + root) / a))


def share_of_unit(difference_S: Floats, unit: float = 1.0) -> Interval | None:
    """Return a mean in units of a fixed number, with its t-interval; None with fewer than two seeds."""
    found = mean_interval(difference_S)
    if found.half_width is None:
        return None
    return Interval(found.mean / unit, (found.mean - found.half_width) / unit, (found.mean + found.half_width) / unit)


def isotonic(values_XE: Floats) -> Floats:
    """Return the closest non-decreasing curve to each of X curves, by the max-min formula, `[X, E]`."""
    count = values_XE.shape[1]
    sum_XE = np.concatenate([np.zeros((len(values_XE), 1)), np.cumsum(values_XE, axis=1)], axis=1)
    first_E1, last_1E = np.arange(count)[:, None], np.arange(count)[None, :]
    mean_XEE = (sum_XE[:, None, 1:] - sum_XE[:, :-1, None]) / np.maximum(last_1E - first_E1 + 1, 1)
    mean_XEE[:, last_1E < first_E1] = np.inf
    least_XEE = np.minimum.accumulate(mean_XEE[:, :, ::-1], axis=2)[:, :, ::-1]  # over blocks that end at E or later
    least_XEE[:, last_1E < first_E1] = -np.inf
    return np.asarray(least_XEE.max(axis=1))


def effort_to_end(effort_E: Floats, own_XE: Floats, baseline_XE: Floats) -> Floats:
    """Return the effort at which an isotonic curve first reaches the end of the baseline's, `[X]`; infinite if never.

    It is infinite too if the baseline's isotonic curve is flat: then there is no gain to reach.

    Args:
        effort_E: effort at each evaluation, strictly increasing.
        own_XE: X mean curves of the arm.
        baseline_XE: the baseline's.
    """
    own_XE, baseline_XE = isotonic(own_XE), isotonic(baseline_XE)
    found_X = labels_to_targets(effort_E, own_XE, baseline_XE[:, -1])
    return np.where(baseline_XE[:, -1] > baseline_XE[:, 0], found_X, np.inf)


def effort(effort_E: Floats, own_SE: Floats, baseline_SE: Floats, rng: np.random.Generator) -> Effort:
    """Return the share of the baseline's effort that an arm needs, by a bootstrap of seeds.

    Args:
        effort_E: effort at each evaluation, strictly increasing.
        own_SE: the arm's curves.
        baseline_SE: the baseline's curves on the same seeds.
        rng: the generator of the bootstrap.
    """
    n = len(own_SE)
    count_XS = rng.multinomial(n, np.full(n, 1 / n), size=BOOTSTRAP) / n
    weight_XS = np.concatenate([np.full((1, n), 1 / n), count_XS])  # the first row is the sample itself
    share_X = effort_to_end(effort_E, weight_XS @ own_SE, weight_XS @ baseline_SE) / float(effort_E[-1])
    value, sampled_X = float(share_X[0]), share_X[1:]
    tail = (1 - LEVEL) / 2
    low, high = np.quantile(sampled_X, [tail, 1 - tail], method="inverted_cdf")  # never interpolates with infinity
    p_half = (1 + int((sampled_X > HALF).sum())) / (1 + BOOTSTRAP)
    return Effort(Interval(value, float(low), float(high)), p_half)
