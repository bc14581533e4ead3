"""Estimates with 95 % intervals: a proportion, a proportion of clustered observations, and a median.

Reference: Clopper and Pearson, Biometrika 26, 1934; Korn and Graubard, "Confidence intervals for proportions with small
           expected number of positive counts estimated from survey data", Survey Methodology 24, 1998.
Formula:   Clopper–Pearson: the α/2 quantile of Beta(k, n − k + 1) to the 1 − α/2 quantile of Beta(k + 1, n − k).
           Clustered (Korn–Graubard): the same with k = p n* and n* = p (1 − p) / var(p) · (t(n − 1) / t(N − 1))², where
           var(p) = N / (N − 1) Σ (hits − p size)² / n² over N clusters with n observations, and t(d) is the 0.975
           quantile of Student's distribution with d degrees of freedom.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import scipy

LEVEL = 0.95


@dataclass(frozen=True)
class Estimate:
    """A number with its 95 % interval.

    Attributes:
        value: the estimate.
        low: lower end of the interval; may be −∞ where too few observations bound it.
        high: upper end of the interval; may be ∞ where too few observations bound it.
        n: number of observations behind it; each function says of what.
    """

    value: float
    low: float
    high: float
    n: int


def clopper_pearson(hits: float, n: float, level: float = LEVEL) -> tuple[float, float]:
    """Return the exact interval of a proportion.

    Args:
        hits: number of successes, from 0 to `n`; need not be whole.
        n: number of observations, more than 0; need not be whole.
        level: confidence level.
    """
    tail = (1 - level) / 2
    low = 0.0 if hits <= 0 else float(scipy.stats.beta.ppf(tail, hits, n - hits + 1))
    high = 1.0 if hits >= n else float(scipy.stats.beta.ppf(1 - tail, hits + 1, n - hits))
    return low, high


def proportion(hits: int, n: int) -> Estimate | None:
    """Return the share of hits among `n` independent observations with its Clopper–Pearson interval; None if n is 0."""
    return Estimate(hits / n, *clopper_pearson(hits, n), n) if n else None


def clustered_proportion(hits_N: Sequence[int], sizes_N: Sequence[int]) -> Estimate | None:
    """Return the share of hits among observations that come in N clusters, with its Korn–Graubard interval.

    Observations of one cluster may depend on one another, so the interval is Clopper–Pearson's with the effective
    number of observations, at most the actual number. If all observations agree, the variance says nothing, and each
    cluster counts as one observation.

    Args:
        hits_N: number of hits in each cluster.
        sizes_N: number of observations in each cluster.

    Returns:
        The estimate, where `n` counts observations; None without observations.
    """
    hit_N, size_N = np.asarray(hits_N, dtype=np.float64), np.asarray(sizes_N, dtype=np.float64)
    order_N = np.lexsort((hit_N, size_N))  # so that rounding does not depend on the order of the clusters
    hit_N, size_N = hit_N[order_N], size_N[order_N]
    hit_N, size_N = hit_N[size_N > 0], size_N[size_N > 0]
    clusters, n = len(size_N), int(size_N.sum())
    if n == 0:
        return None
    share = float(hit_N.sum() / n)
    effective = float(clusters)
    if clusters > 1 and 0 < share < 1:
        variance = clusters / (clusters - 1) * float(np.square(hit_N - share * size_N).sum()) / n**2
        few = float(scipy.stats.t.ppf((1 + LEVEL) / 2, n - 1) / scipy.stats.t.ppf((1 + LEVEL) / 2, clusters - 1)) ** 2
        effective = min(n, few * share * (1 - share) / variance) if variance > 0 else n
    return Estimate(share, *clopper_pearson(share * effective, effective), n)


def median(values_N: Sequence[float]) -> Estimate | None:
    """Return the median with its distribution-free interval by order statistics; None without values.

    With fewer than 6 values no order statistics enclose the median with 95 % confidence: the interval is unbounded.
    """
    if not values_N:
        return None
    value_N = np.asarray(values_N, dtype=np.float64)
    middle = float(np.median(value_N))
    interval = scipy.stats.quantile_test(value_N, q=middle, p=0.5).confidence_interval(LEVEL)
    low, high = float(interval.low), float(interval.high)
    return Estimate(middle, -np.inf if np.isnan(low) else low, np.inf if np.isnan(high) else high, len(value_N))
