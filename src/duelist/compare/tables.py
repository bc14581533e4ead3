"""Tables of a comparison: Markdown to read, CSV to compute with."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping, Sequence
from typing import Any

from duelist.compare.curves import OVER, Rows, described, measured
from duelist.compare.sentences import sentences
from duelist.compare.statistics import FEWEST_SEEDS, Mean, Paired
from duelist.compare.summary import ArmSummary, MetricSummary, ToTarget

NOTHING = "–"
HEADER = "The same seed is the same world, prompts, initial model and annotator's noise for every arm."


def markdown(
    title: str,
    summaries: Sequence[MetricSummary],
    unfinished: Mapping[str, Sequence[int]],
    unshared: Mapping[str, Sequence[str]],
) -> str:
    """Return a table per metric in Markdown, with notes on how to read it.

    Args:
        title: title of the comparison.
        summaries: metrics, the main one first.
        unfinished: missing seeds, by arm.
        unshared: recipe keys that an arm should share with the first arm but does not, by arm.
    """
    lines = [f"# {title}", ""]
    few = few_seeds(summaries)
    if few is not None:
        lines += [f"**{few}**", ""]
    for arm, keys in unshared.items():
        different = ", ".join(f"`{k}`" for k in keys)
        lines += [f"**{arm} differs in {different}: its studies are not paired with the others as others are.**", ""]
    for arm, seeds in unfinished.items():
        lines += [f"Not finished, hence not counted: {arm}, seed {', '.join(map(str, seeds))}.", ""]
    if quotable := sentences(summaries):
        lines += [*(f"- {sentence}" for sentence in quotable), ""]
    for summary in summaries:
        lines += [*_tables(summary), ""]
    return "\n".join([*lines, *_notes(summaries)]) + "\n"


def few_seeds(summaries: Sequence[MetricSummary]) -> str | None:
    """Return a warning if a comparison has too few seeds to decide anything; None otherwise."""
    counts = [arm.final_paired.difference.seeds for s in summaries for arm in s.arms if arm.final_paired is not None]
    fewest = min(counts, default=0)
    if fewest >= FEWEST_SEEDS:
        return None
    seeds = {0: "No seed is", 1: "Only one seed is"}.get(fewest, f"Only {fewest} seeds are")
    return (
        f"{seeds} shared with the baseline: so few decide nothing, whatever the numbers say. Differences of this size "
        f"come and go with the seed: run {FEWEST_SEEDS} seeds at least, better 20 (`--seeds 0:20`). Below "
        f"{FEWEST_SEEDS} there is no interval and no p."
    )


def table_csv(summaries: Sequence[MetricSummary]) -> str:
    """Return CSV with a line per metric, arm and statistic.

    `low` and `high` bound the 95 % t-interval, clipped to the metric's range.
    """
    lines: list[dict[str, Any]] = []
    for summary in summaries:
        bounds = described(summary.metric.name).range
        for arm in summary.arms:
            lines += [{"metric": summary.metric.name, "arm": arm.arm, **x} for x in _statistics(arm, bounds)]
    return _csv(["metric", "arm", "statistic", "value", "low", "high", "p_value", "seeds"], lines)


def curves_csv(rows: Rows) -> str:
    """Return CSV with a line per arm, seed and round, with every measured number."""
    names = measured(rows)
    columns = ["arm", "seed", "round", "labels", "asked", "responses", "comparisons", "annotation_seconds", *names]
    lines = [
        {"arm": arm, "seed": seed, **{k: row.get(k) for k in columns[2:]}}
        for arm, of_arm in rows.items()
        for seed in sorted(of_arm)
        for row in of_arm[seed]
    ]
    return _csv(columns, lines)


def _tables(summary: MetricSummary) -> list[str]:
    """Return two tables: the final values, and below them the whole curves; one table would be too wide to read."""
    base, gained = summary.baseline, summary.target_gained
    metric = described(summary.metric.name)
    digits = metric.digits
    better = "higher" if summary.metric.higher_is_better else "lower"
    against = [f"− {base}", "p", "better on"]
    unit = OVER[summary.over]
    end = [["arm", "seeds", f"at {summary.highest:g} {unit}", *against]]
    end += [[a.arm, str(a.final.seeds), _mean(a.final, digits), *_paired(a.final_paired, digits)] for a in summary.arms]
    way = [["arm", "area under the curve", *against, f"{unit} to {base}'s end", "per seed"]]
    way += [
        [a.arm, _mean(a.area, digits), *_paired(a.area_paired, digits), *_to_target(a.to_target if gained else None)]
        for a in summary.arms
    ]
    name = metric.name + (f" in {metric.unit}" if metric.unit else "")
    lines = [f"## {name} ({better} is better)", "", *_aligned(end), "", *_aligned(way)]
    if summary.target is not None and not gained:
        lines += ["", f"{base} did not get better on average, so there is no target to count the {unit} to."]
    return lines


def _notes(summaries: Sequence[MetricSummary]) -> list[str]:
    if not summaries:
        return ["No study has finished that measured anything."]
    base, unit = summaries[0].baseline, OVER[summaries[0].over]
    return [
        HEADER,
        "",
        f"- ± is a 95 % t-interval over seeds, given from {FEWEST_SEEDS} seeds on. A value's own interval holds the "
        "differences between worlds too: what compares arms is the column after it, the mean of the differences to "
        f"{base} on the same seed.",
        "- p is of the paired t-test, two-sided, of that one comparison: with several arms or metrics, the smallest of "
        "several p is small by chance more often than it says.",
        f"- The area under the learning curve is divided by the range of {unit}: the curve's mean height.",
        f"- {unit.capitalize()} to {base}'s end: where the mean curve, linear between rounds, first is as good as "
        f"{base}'s at the end. Per seed: the median over seeds, each against its own target, and on how many it is "
        "reached at all; a single seed's curve is noisy and reaches a target early by chance, the baseline's too.",
    ]


def _mean(value: Mean, digits: int, sign: str = "") -> str:
    interval = "" if value.half_width is None else f" ± {value.half_width:.{digits}f}"
    return f"{value.mean:{sign}.{digits}f}" + interval


def _paired(value: Paired | None, digits: int) -> list[str]:
    if value is None:
        return [NOTHING] * 3
    d = value.difference
    if value.p_value is None:
        p = f"{d.seeds} seed{'' if d.seeds == 1 else 's'}: too few to tell"
    else:
        p = "<0.0001" if value.p_value < 1e-4 else f"{value.p_value:.4f}"
    ties = "" if value.ties == 0 else f", {value.ties} equal"
    return [_mean(d, digits, "+"), p, f"{value.wins} of {d.seeds}{ties}"]


def _to_target(value: ToTarget | None) -> list[str]:
    if value is None:
        return [NOTHING] * 2
    reached = f"{value.reached} of {value.seeds} seeds"
    on_mean = "never" if value.mean_curve is None else f"{value.mean_curve:.0f}"
    return [on_mean, f"never ({reached})" if value.median is None else f"{value.median:.0f} ({reached})"]


def _statistics(arm: ArmSummary, bounds: tuple[float, float]) -> list[dict[str, Any]]:
    lines: list[dict[str, Any]] = []
    width = bounds[1] - bounds[0]
    for name, own, pair in (("final", arm.final, arm.final_paired), ("area", arm.area, arm.area_paired)):
        lines.append(_interval(name, own, bounds))
        if pair is not None:
            n = pair.difference.seeds
            lines.append(
                _interval(f"{name}_minus_baseline", pair.difference, (-width, width)) | {"p_value": pair.p_value}
            )
            lines.append({"statistic": f"{name}_wins", "value": pair.wins, "seeds": n})
            lines.append({"statistic": f"{name}_ties", "value": pair.ties, "seeds": n})
    if arm.to_target is not None:
        t = arm.to_target
        lines.append({"statistic": "labels_to_target_mean_curve", "value": t.mean_curve, "seeds": t.seeds})
        lines.append({"statistic": "labels_to_target_median", "value": t.median, "seeds": t.seeds})
        lines.append({"statistic": "seeds_reaching_target", "value": t.reached, "seeds": t.seeds})
    return lines


def _interval(name: str, value: Mean, bounds: tuple[float, float]) -> dict[str, Any]:
    found = {"statistic": name, "value": value.mean, "seeds": value.seeds}
    if value.half_width is None:
        return found
    least, largest = bounds
    low, high = value.mean - value.half_width, value.mean + value.half_width
    return {**found, "low": max(low, least), "high": min(high, largest)}


def _aligned(rows: Sequence[Sequence[str]]) -> list[str]:
    """Return a Markdown table whose columns also align in plain text; the first row is the header."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]

    def line(cells: Sequence[str]) -> str:
        first, *others = (
            cell.ljust(w) if i == 0 else cell.rjust(w) for i, (cell, w) in enumerate(zip(cells, widths, strict=True))
        )
        return "| " + " | ".join([first, *others]) + " |"

    rule = [":" + "-" * (widths[0] - 1), *("-" * (w - 1) + ":" for w in widths[1:])]
    return [line(rows[0]), line(rule), *map(line, rows[1:])]


def _csv(columns: Sequence[str], lines: Sequence[Mapping[str, Any]]) -> str:
    target = io.StringIO()
    writer = csv.DictWriter(target, columns, lineterminator="\n")
    writer.writeheader()
    writer.writerows(lines)
    return target.getvalue()
