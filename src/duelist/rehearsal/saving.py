"""The share of labels that a rule saves, with an interval over seeds, and how often chance seems to save as much.

Reference: Efron, Annals of Statistics 7, 1979 (bootstrap); Fisher, "The design of experiments", 1935 (permutation of
           paired values); isotonic curves: Barlow et al., "Statistical inference under order restrictions", 1972.
Formula:   of the mean curves over seeds, made monotone by isotonic regression: 1 − (labels at which the rule reaches
           what random selection has reached in the end) / (labels in the end); negative curves end at 0, because a
           rule that never gets there saves nothing that could be counted. The interval takes the percentiles 2.5 and
           97.5 over resampled seeds, the same for both arms. p: the share of exchanges of the two arms within seeds
           (all 2^S of them, or a random sample) after which the rule seems to save at least as much; the two studies
           of a seed share their held-out prompts, so they are exchanged as a pair. p-values are adjusted for the number
           of rules by Holm's method.
Unit:      share of the labels.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import isotonic_regression

from duelist.compare.statistics import LEVEL, Floats, detectable, labels_to_target, paired
from duelist.people.habits import holm

RESAMPLES = 2000
ALL_EXCHANGES = 11  # seeds, at most, of which every exchange is tried: 2048
SMALLEST = 1e-9  # difference of two savings that is not rounding


@dataclass(frozen=True)
class Saving:
    """What a rule saves.

    Attributes:
        rule: the rule.
        saving: share of the labels saved; 0 if the rule never reaches random's end.
        low: lower end of the 95 % interval.
        high: upper end.
        p_value: how often exchanging rule and random within seeds seems to save as much, adjusted for all rules.
        final: mean difference rule − random at the end.
        final_low: lower end of its 95 % t-interval.
        final_high: upper end.
        final_p_value: of the paired t-test, two-sided, adjusted for all rules.
        detectable: size of a difference at the end that so many seeds find with 80 % probability, at 5 % divided by the
            number of rules.
    """

    rule: str
    saving: float
    low: float
    high: float
    p_value: float
    final: float
    final_low: float
    final_high: float
    final_p_value: float
    detectable: float


@dataclass(frozen=True)
class MetricSavings:
    """Savings in one metric.

    Attributes:
        metric: the metric.
        higher_is_better: its direction.
        start: mean of random selection after the first batch.
        end: mean of random selection at the end.
        savings: of each rule.
    """

    metric: str
    higher_is_better: bool
    start: float
    end: float
    savings: tuple[Saving, ...]


def savings(
    labels_E: Floats,
    curves: Mapping[str, Floats],
    baseline: str,
    higher_is_better: bool,
    rng: np.random.Generator,
) -> list[Saving]:
    """Return what each rule saves against the baseline.

    Args:
        labels_E: label counts of the evaluations, increasing.
        curves: of each arm, the metric `[S, E]` on the same S seeds, two or more.
        baseline: the arm that draws at random.
        higher_is_better: the metric's direction.
        rng: the generator of the resamples.
    """
    sign = 1.0 if higher_is_better else -1.0
    base_SE = sign * curves[baseline]
    seeds = len(base_SE)
    draws_XS = rng.integers(seeds, size=(RESAMPLES, seeds))
    exchanged_XS = _exchanges(seeds, rng)
    rules = {rule: sign * values_SE for rule, values_SE in curves.items() if rule != baseline}
    by_chance = holm({rule: _by_chance(labels_E, own_SE, base_SE, exchanged_XS) for rule, own_SE in rules.items()})
    ends = {rule: paired(curves[rule][:, -1].tolist(), curves[baseline][:, -1].tolist()) for rule in rules}
    of_ends = holm({rule: end.p_value or 0.0 for rule, end in ends.items()})
    found = []
    for rule, own_SE in rules.items():
        resampled = [_saving(labels_E, own_SE[d].mean(axis=0), base_SE[d].mean(axis=0)) for d in draws_XS]
        low, high = np.percentile(resampled, [2.5, 97.5])
        end = ends[rule].difference
        half = end.half_width or 0.0
        deviation = float((own_SE[:, -1] - base_SE[:, -1]).std(ddof=1))
        found.append(
            Saving(
                rule,
                _saving(labels_E, own_SE.mean(axis=0), base_SE.mean(axis=0)),
                float(low),
                float(high),
                by_chance[rule],
                end.mean,
                end.mean - half,
                end.mean + half,
                of_ends[rule],
                detectable(deviation, seeds, (1 - LEVEL) / len(rules)),
            )
        )
    return found


def _exchanges(seeds: int, rng: np.random.Generator) -> NDArray[np.bool_]:
    """Return in which seeds the two arms are exchanged, `[X, S]`, the observed pairs (none) first."""
    if seeds <= ALL_EXCHANGES:
        return np.asarray((np.arange(2**seeds)[:, None] >> np.arange(seeds)) % 2 == 1)
    return np.concatenate([np.zeros((1, seeds), bool), rng.random((RESAMPLES, seeds)) < 0.5])


def _by_chance(labels_E: Floats, own_SE: Floats, base_SE: Floats, exchanged_XS: NDArray[np.bool_]) -> float:
    """Return the share of the exchanges after which the rule saves at least as much as without any."""
    saved_X = np.array(
        [
            _saving(
                labels_E, *(np.where(x[:, None], *both).mean(axis=0) for both in ((base_SE, own_SE), (own_SE, base_SE)))
            )
            for x in exchanged_XS
        ]
    )
    return float((saved_X >= saved_X[0] - SMALLEST).mean())


def _saving(labels_E: Floats, own_E: Floats, base_E: Floats) -> float:
    """Return the share saved by one curve beside another, of which higher is better."""
    own_E, target = isotonic_regression(own_E).x, isotonic_regression(base_E).x[-1]
    at = labels_to_target(labels_E, own_E, float(target))
    return 0.0 if at is None else float(1.0 - at / labels_E[-1])
