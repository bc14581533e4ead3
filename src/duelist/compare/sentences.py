"""What a comparison found, in sentences to quote: each says the numbers, on how many seeds, and what they decide."""

from __future__ import annotations

from collections.abc import Sequence

from duelist.compare.curves import OVER, described
from duelist.compare.statistics import FEWEST_SEEDS, Paired
from duelist.compare.summary import ArmSummary, MetricSummary
from duelist.evaluation.metrics import MetricSpec


def sentences(summaries: Sequence[MetricSummary]) -> list[str]:
    """Return a sentence per metric and arm other than the baseline, in the order of the tables."""
    return [_sentence(summary, arm) for summary in summaries for arm in summary.arms if arm.final_paired is not None]


def _sentence(summary: MetricSummary, arm: ArmSummary) -> str:
    pair, base = arm.final_paired, summary.baseline
    assert pair is not None
    metric = described(summary.metric.name)
    seeds = pair.difference.seeds
    end = f"{metric.title} of {arm.arm} minus that of {base}, after {summary.highest:g} {OVER[summary.over]}"
    better = f"better on {pair.wins} of {seeds} seed{'' if seeds == 1 else 's'}"
    if pair.difference.half_width is None or pair.p_value is None:
        value = f"{pair.difference.mean:+.{metric.digits - 1}f}".replace("-", "−")
        return f"{end}: {value}, {better}; fewer than {FEWEST_SEEDS} seeds cannot tell the arms apart."
    return f"{end}: {_in_numbers(pair, metric)}, {better}.{_saved(summary, arm)}"


def _in_numbers(pair: Paired, metric: MetricSpec) -> str:
    mean, half_width, width = pair.difference.mean, pair.difference.half_width, metric.range[1] - metric.range[0]
    assert half_width is not None and pair.p_value is not None
    ends = max(mean - half_width, -width), min(mean + half_width, width)
    value, low, high = (f"{x:+.{metric.digits - 1}f}".replace("-", "−") for x in (mean, *ends))
    p = "p < 0.0001" if pair.p_value < 1e-4 else f"p = {pair.p_value:.2g}"
    return f"{value} (95 % interval {low} to {high}, paired t-test {p})"


def _saved(summary: MetricSummary, arm: ArmSummary) -> str:
    """Return how many labels fewer reach the baseline's end, if any do."""
    reach = None if arm.to_target is None or not summary.target_gained else arm.to_target.mean_curve
    if reach is None or reach >= summary.highest:
        return ""
    spent, whole = reach - summary.lowest, summary.highest - summary.lowest
    unit = OVER[summary.over]
    return (
        f" Its mean curve reaches {summary.baseline}'s end with {reach:.0f} {unit} instead of {summary.highest:g}: "
        f"{100 * (1 - spent / whole):.0f} % fewer."
    )
