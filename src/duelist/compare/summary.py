"""Summary of a comparison per metric: each arm alone, and against the baseline on the same seeds."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from duelist.compare.curves import Curve, Metric, Rows, curve
from duelist.compare.statistics import (
    FEWEST_SEEDS,
    Floats,
    Mean,
    Paired,
    area_under,
    labels_to_target,
    mean_interval,
    median_with_never,
    paired,
    value_at,
)


@dataclass(frozen=True)
class Band:
    """Mean over seeds at each label count, with the half width of its 95 % t-interval; None for too few seeds."""

    labels_E: Floats
    mean_E: Floats
    half_width_E: Floats | None


@dataclass(frozen=True)
class ToTarget:
    """Labels that an arm needs to reach the baseline's final value.

    Attributes:
        mean_curve: labels at which the mean over seeds reaches the mean target; None if it never does.
        median: median over seeds of the labels at which a seed's curve reaches the baseline's final value on that
            seed; None if half of the seeds or more never reach it.
        reached: number of seeds that reach it.
        seeds: number of seeds in total.
    """

    mean_curve: float | None
    median: float | None
    reached: int
    seeds: int


@dataclass(frozen=True)
class ArmSummary:
    """One arm in one metric. With fewer than `FEWEST_SEEDS` seeds there is no interval and no p-value.

    Attributes:
        arm: name of the arm.
        final: metric at the end of the compared label range.
        area: mean height of the learning curve over that range.
        final_paired: final value against the baseline's; None for the baseline, and if no seed is shared.
        area_paired: area against the baseline's; None in the same cases.
        to_target: labels to the baseline's final value; None if no seed is shared with the baseline.
        curve: mean learning curve.
        difference: mean of (this arm − baseline) over shared seeds; None for the baseline, and if no seed is shared.
    """

    arm: str
    final: Mean
    area: Mean
    final_paired: Paired | None
    area_paired: Paired | None
    to_target: ToTarget | None
    curve: Band
    difference: Band | None


@dataclass(frozen=True)
class MetricSummary:
    """All arms in one metric.

    Attributes:
        metric: metric that is compared.
        baseline: arm that the others are compared with.
        lowest: start of the compared label range: the first label count that every study covers.
        highest: end of that range: the last label count that every study covers.
        target: the baseline's mean value at `highest`; None if the baseline has no finished study.
        target_gained: whether the target is better than the baseline's value at `lowest`; if not, labels to the target
            are meaningless.
        arms: arms with a finished study, in the requested order.
        over: the effort that "labels" stands for: a column of `curves.OVER`.
    """

    metric: Metric
    baseline: str
    lowest: float
    highest: float
    target: float | None
    target_gained: bool
    arms: tuple[ArmSummary, ...]
    over: str = "labels"


def choose_baseline(arms: Mapping[str, str]) -> str:
    """Return the baseline: the arm named `random`, else the first arm with acquisition `random`, else the first arm.

    Args:
        arms: acquisition of each arm, by the arm's name.
    """
    if "random" in arms:
        return "random"
    return next((name for name, acquisition in arms.items() if acquisition == "random"), next(iter(arms)))


def summarise(rows: Rows, metric: Metric, baseline: str, over: str = "labels") -> MetricSummary | None:
    """Compare the arms' finished studies in one metric over an effort (`OVER`); None if no study measured it."""
    curves = {
        arm: {seed: c for seed, rows_E in of_arm.items() if (c := curve(rows_E, metric.name, over)) is not None}
        for arm, of_arm in rows.items()
    }
    curves = {arm: of_arm for arm, of_arm in curves.items() if of_arm}
    every = [c for of_arm in curves.values() for c in of_arm.values()]
    if not every:
        return None
    # Arms with different budgets are compared over the label range that all of them cover.
    lowest = max(float(c.labels_E[0]) for c in every)
    highest = max(lowest, min(float(c.labels_E[-1]) for c in every))
    base = curves.get(baseline, {})
    target, gained = None, False
    if base:
        start, target = (
            np.mean([value_at(c.labels_E, c.values_E, x) for c in base.values()]) for x in (lowest, highest)
        )
        gained = bool(target > start if metric.higher_is_better else target < start)
    arms = tuple(
        _summarise_arm(arm, of_arm, {} if arm == baseline else base, base, metric, lowest, highest)
        for arm, of_arm in curves.items()
    )
    end = None if target is None else float(target)
    return MetricSummary(metric, baseline, lowest, highest, end, gained, arms, over)


def _summarise_arm(
    arm: str,
    own: Mapping[int, Curve],
    other: Mapping[int, Curve],
    base: Mapping[int, Curve],
    metric: Metric,
    lowest: float,
    highest: float,
) -> ArmSummary:
    def final(c: Curve) -> float:
        return value_at(c.labels_E, c.values_E, highest)

    def area(c: Curve) -> float:
        return area_under(c.labels_E, c.values_E, lowest, highest)

    shared = sorted(set(own) & set(other))
    pairs = [(own[s], other[s]) for s in shared]
    final_paired = area_paired = difference = None
    if shared:
        final_paired, area_paired = (
            _paired([f(a) for a, _ in pairs], [f(b) for _, b in pairs], metric.higher_is_better) for f in (final, area)
        )
        difference = _band([own[s] for s in shared], [other[s] for s in shared], lowest, highest)
    curves = [own[s] for s in sorted(own)]
    return ArmSummary(
        arm,
        _mean([final(c) for c in curves]),
        _mean([area(c) for c in curves]),
        final_paired,
        area_paired,
        _to_target(own, base, metric, lowest, highest),
        _band(curves, None, lowest, highest),
        difference,
    )


def _to_target(
    own: Mapping[int, Curve], base: Mapping[int, Curve], metric: Metric, lowest: float, highest: float
) -> ToTarget | None:
    shared = sorted(set(own) & set(base))
    if not shared:
        return None
    target_S = [value_at(base[s].labels_E, base[s].values_E, highest) for s in shared]
    per_seed = []
    for s, target in zip(shared, target_S, strict=True):
        within = _band([own[s]], None, lowest, highest)
        per_seed.append(labels_to_target(within.labels_E, within.mean_E, target, metric.higher_is_better))
    mean = _band([own[s] for s in shared], None, lowest, highest)
    on_mean = labels_to_target(mean.labels_E, mean.mean_E, float(np.mean(target_S)), metric.higher_is_better)
    return ToTarget(on_mean, median_with_never(per_seed), sum(x is not None for x in per_seed), len(shared))


def _band(curves: list[Curve], minus: list[Curve] | None, lowest: float, highest: float) -> Band:
    """Return the mean of curves, or of their differences, at every measured label count within the bounds."""
    labels = {float(x) for c in [*curves, *(minus or [])] for x in c.labels_E if lowest < x < highest}
    labels_E = np.array(sorted({lowest, highest} | labels))
    values_SE = np.array([np.interp(labels_E, c.labels_E, c.values_E) for c in curves])
    if minus is not None:
        values_SE -= np.array([np.interp(labels_E, c.labels_E, c.values_E) for c in minus])
    found = [_mean(column_S) for column_S in values_SE.T]
    half_widths = [m.half_width for m in found if m.half_width is not None]
    return Band(labels_E, np.array([m.mean for m in found]), np.array(half_widths) if half_widths else None)


def _mean(values_S: Sequence[float] | Floats) -> Mean:
    found = mean_interval(values_S)
    return found if found.seeds >= FEWEST_SEEDS else replace(found, half_width=None)


def _paired(values_S: Sequence[float], baseline_S: Sequence[float], higher_is_better: bool) -> Paired:
    found = paired(values_S, baseline_S, higher_is_better)
    if found.difference.seeds >= FEWEST_SEEDS:
        return found
    return replace(found, difference=replace(found.difference, half_width=None), p_value=None)
