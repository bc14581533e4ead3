"""The share of labels that a rule saves, with an interval over seeds, and how much chance alone seems to save.

Reference: Efron, Annals of Statistics 7, 1979 (bootstrap); isotonic curves: Barlow et al., "Statistical inference under
           order restrictions", 1972.
Formula:   of the mean curves over seeds, made monotone by isotonic regression: 1 − (labels at which the rule reaches
           what random selection has reached in the end) / (labels in the end); negative curves end at 0, because a
           rule that never gets there saves nothing that could be counted. The interval takes the percentiles 2.5 and
           97.5 over resampled seeds, the same for both arms. By chance: the percentile 95 of the same number for random
           selection against itself, both sides resampled on their own.
Unit:      share of the labels.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from scipy.optimize import isotonic_regression

from duelist.compare.statistics import Floats, labels_to_target

RESAMPLES = 2000
POWER = 2.8  # standard errors of a difference that is found with 80 % probability at 5 %


@dataclass(frozen=True)
class Saving:
    """What a rule saves.

    Attributes:
        rule: the rule.
        saving: share of the labels saved; 0 if the rule never reaches random's end.
        low: lower end of the 95 % interval.
        high: upper end.
        reached: share of the resamples in which it reaches random's end.
        final: mean difference rule − random at the end.
        final_low: lower end of its 95 % interval.
        final_high: upper end.
        detectable: size of a difference at the end that so many seeds find with 80 % probability.
    """

    rule: str
    saving: float
    low: float
    high: float
    reached: float
    final: float
    final_low: float
    final_high: float
    detectable: float


@dataclass(frozen=True)
class MetricSavings:
    """Savings in one metric.

    Attributes:
        metric: the metric.
        start: mean of random selection after the first batch.
        end: mean of random selection at the end.
        savings: of each rule.
        chance: what chance alone seems to save, exceeded by 5 % of repetitions.
    """

    metric: str
    start: float
    end: float
    savings: tuple[Saving, ...]
    chance: float


def savings(
    labels_E: Floats,
    curves: Mapping[str, Floats],
    baseline: str,
    higher_is_better: bool,
    rng: np.random.Generator,
) -> tuple[list[Saving], float]:
    """Return what each rule saves against the baseline, and what chance alone seems to save.

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
    draws = rng.integers(seeds, size=(RESAMPLES, seeds))
    others = rng.integers(seeds, size=(RESAMPLES, seeds))
    chance = [
        _saving(labels_E, base_SE[a].mean(axis=0), base_SE[b].mean(axis=0))[0]
        for a, b in zip(draws, others, strict=True)
    ]
    found = []
    for rule, values_SE in curves.items():
        if rule == baseline:
            continue
        own_SE = sign * values_SE
        resampled = [_saving(labels_E, own_SE[d].mean(axis=0), base_SE[d].mean(axis=0)) for d in draws]
        low, high = np.percentile([s for s, _ in resampled], [2.5, 97.5])
        difference_S = values_SE[:, -1] - curves[baseline][:, -1]
        ends = np.percentile(difference_S[draws].mean(axis=1), [2.5, 97.5])
        found.append(
            Saving(
                rule,
                _saving(labels_E, own_SE.mean(axis=0), base_SE.mean(axis=0))[0],
                float(low),
                float(high),
                float(np.mean([reached for _, reached in resampled])),
                float(difference_S.mean()),
                float(ends[0]),
                float(ends[1]),
                float(POWER * difference_S.std(ddof=1) / np.sqrt(seeds)),
            )
        )
    return found, float(np.percentile(chance, 95))


def _saving(labels_E: Floats, own_E: Floats, base_E: Floats) -> tuple[float, bool]:
    """Return the share saved by one curve beside another, higher is better, and whether it reaches the other's end."""
    own_E, target = isotonic_regression(own_E).x, isotonic_regression(base_E).x[-1]
    at = labels_to_target(labels_E, own_E, float(target))
    return (0.0, False) if at is None else (float(1.0 - at / labels_E[-1]), True)
