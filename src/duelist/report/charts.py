"""Charts of the report: metrics over labels, and statistics of the asked questions over rounds."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from markupsafe import Markup

from duelist.evaluation.metrics import MetricSpec, finite, interval_of, shown_in
from duelist.report.formats import number
from duelist.report.pool_map import spread
from duelist.report.record import Arm, Selected, reward_kl_rows
from duelist.report.svg import SERIES, SHAPES, Canvas, Plot, Points, Range, path

Intervals = Mapping[float, tuple[float, float]]  # of one arm's curve, by labels
REWARD = "mean_reward"
WIDTH, HEIGHT = 300.0, 210.0
BOXES = 24  # rounds with a box of their own
GROUPS_WIDTH = 400.0
GROUPS = 14  # rows of the chart of groups


@dataclass(frozen=True)
class Picture:
    """Chart with its title, its caption and its SVG element; `svg` is empty if there is nothing to draw."""

    title: str
    caption: str
    svg: Markup


def metric_series(arm: Arm, x: str, y: str) -> list[tuple[float, float]]:
    """Return the points of the closed rounds at which both metrics were measured."""
    points = [(finite(m.get(x)), finite(m.get(y))) for m in arm.metrics]
    return [(a, b) for a, b in points if a is not None and b is not None]


def metric_intervals(arm: Arm, metric: MetricSpec) -> Intervals:
    """Return the 95 % intervals that the evaluation recorded with a metric."""
    found = {float(m["labels"]): interval_of(metric, m) for m in arm.metrics if "labels" in m}
    return {labels: ends for labels, ends in found.items() if ends is not None}


def metric_chart(
    arms: Sequence[Arm],
    metric: MetricSpec,
    intervals: Sequence[Intervals] = (),
    size: tuple[float, float] = (WIDTH, HEIGHT),
    name: str = "",
) -> Picture:
    """Draw a metric over labels, one line per arm, with bands where there are intervals.

    Args:
        arms: the arms.
        metric: the metric.
        intervals: of each arm's curve; those that the evaluation recorded by default.
        size: width and height of the drawing.
        name: class of the drawing.
    """
    series = [metric_series(arm, "labels", metric.name) for arm in arms]
    bands = list(intervals) or [metric_intervals(arm, metric) for arm in arms]
    title = metric.heading[0].upper() + metric.heading[1:]
    return _lines(arms, series, title, metric.meaning, "labels", level=metric.level, bands=bands, size=size, name=name)


def metric_charts(arms: Sequence[Arm], without: str | None) -> list[Picture]:
    """Return the charts of all measured metrics but one; none repeats the numbers of an earlier chart."""
    found: list[Picture] = []
    known = [[metric_series(arm, "labels", without) for arm in arms]] if without else []
    for metric in shown_in("figures"):
        series = [metric_series(arm, "labels", metric.name) for arm in arms]
        if metric.name == without or not any(series) or any(_same(series, other) for other in known):
            continue
        known.append(series)
        found.append(metric_chart(arms, metric))
    return found


def reward_kl_chart(arms: Sequence[Arm]) -> Picture:
    """Draw mean reward over the KL from the base model."""
    curves = [reward_kl_rows([arm]) for arm in arms]
    series = [[(float(row["kl"]), float(row[REWARD])) for row in rows] for rows in curves]
    titles = [
        [f"{row['labels']} labels" + (f", step {row['step']}" if row.get("step") else "") for row in rows]
        for rows in curves
    ]
    caption = (
        "What the reward cost in distance from the base model. A point is a measurement, after a round or between its "
        "steps: rest the pointer on it."
    )
    x = "KL from the base model (nats)"
    return _lines(arms, series, "Reward and KL", caption, x, titles=titles)


def choice_charts(arms: Sequence[Arm], rounds: Sequence[Sequence[Selected]]) -> list[Picture]:
    """Return the charts of what the arms asked, round by round; those without numbers are left out."""
    charts = [
        margin_chart(arms, rounds),
        _statistic(
            arms,
            rounds,
            lambda c: c.similarity,
            "Redundancy",
            "Similarity of a question's response tokens to the most similar one asked before (Jaccard); the mean.",
            top=1.0,
        ),
        _statistic(
            arms, rounds, lambda c: c.length, "Response length", "Mean tokens of the asked responses.", top=None
        ),
        _statistic(
            arms,
            rounds,
            lambda c: c.ranking_accuracy,
            "Ranking accuracy",
            "Preferences that the model already ranked right, before training on them. ½ is chance.",
            level=0.5,
            top=1.0,
        ),
    ]
    return [chart for chart in charts if chart.svg]


def margin_chart(arms: Sequence[Arm], rounds: Sequence[Sequence[Selected]]) -> Picture:
    """Draw the distribution of |margin| in each round, one box per arm."""
    title, caption = "Margins", "|margin| before training (nats · β): median, quartiles, 5 % and 95 %."
    shown = [spread(list(of_arm), BOXES) for of_arm in rounds]
    if not any(shown):
        return Picture(title, caption, Markup())
    five = [np.array([np.percentile(c.margin_B, (5, 25, 50, 75, 95)) for c in of_arm]) for of_arm in shown]
    top = max(float(x[:, 4].max()) for x in five if len(x)) or 1.0
    at = [c.round for of_arm in shown for c in of_arm]
    last = "; ".join(
        f"{arm.label} ends with a median of {number(float(x[-1, 2]))}"
        for arm, x in zip(arms, five, strict=True)
        if len(x)
    )
    x_range = Range(min(at) - 0.6, max(at) + 0.6)
    plot = Plot(WIDTH, HEIGHT, f"{title} by round: {last}.", x_range, Range(0, 1.05 * top), "round", whole_x=True)
    step = plot.across(1.0) - plot.across(0.0)
    width = min(26.0, 0.8 * step * max(1, (max(at) - min(at) + 1) / (BOXES + 1)) / len(arms))
    for i, (of_arm, numbers) in enumerate(zip(shown, five, strict=True)):
        for c, row in zip(of_arm, numbers, strict=True):
            x = plot.across(c.round) + (i - (len(arms) - 1) / 2) * width
            low, q1, median, q3, high = (plot.up(float(v)) for v in row)
            name = f"s{i % SERIES}"
            plot.add("path", d=f"M{x:.1f} {low:.1f}V{q1:.1f}M{x:.1f} {q3:.1f}V{high:.1f}", class_=f"whisker {name}")
            words = f"round {c.round}: median {number(float(row[2]))}"
            box: dict[str, Any] = {"x": x - 0.4 * width, "y": q3, "width": 0.8 * width, "height": max(q1 - q3, 0.5)}
            plot.add("rect", title=words, class_=f"box {name}", **box)
            plot.add("path", d=f"M{x - 0.4 * width:.1f} {median:.1f}h{0.8 * width:.1f}", class_=f"median {name}")
    return Picture(title, caption, plot.markup())


def groups_chart(arms: Sequence[Arm], groups: Sequence[tuple[str, Sequence[int]]], column: str) -> Picture:
    """Draw how many questions of each group each arm asked.

    Args:
        arms: the arms.
        groups: name and count per arm of each group, most asked first.
        column: the prompts' column that groups them.
    """
    shown = groups[:GROUPS]
    most = max((n for _, counts in shown for n in counts), default=0) or 1
    thick = 13.0 if len(arms) == 1 else 7.0
    row = thick * len(arms) + 6
    words = "; ".join(f"{name}: {', '.join(map(str, counts))}" for name, counts in shown)
    canvas = Canvas(GROUPS_WIDTH, row * len(shown) + 8, f"Questions asked by {column}: {words}.")
    left, right = 90.0, 30.0
    for i, (name, counts) in enumerate(shown):
        top = 4 + i * row
        middle = top + thick * len(arms) / 2 + 4
        canvas.text(left - 8, middle, name if len(name) <= 13 else f"{name[:12]}…", "end")
        for k, n in enumerate(counts):
            width = (GROUPS_WIDTH - left - right) * n / most
            bar: dict[str, Any] = {"x": left, "y": top + k * thick, "width": max(width, 0.5), "height": thick - 1}
            canvas.add("rect", title=f"{name}: {n}", class_=f"bar s{k % SERIES}", **bar)
        if len(arms) == 1:
            canvas.text(left + (GROUPS_WIDTH - left - right) * counts[0] / most + 5, middle, str(counts[0]))
    rest = len(groups) - len(shown)
    caption = f"Asked questions by {column}" + (f"; {rest} asked less often are not shown." if rest > 0 else ".")
    return Picture("Kinds covered", caption, canvas.markup() if shown else Markup())


def spark(values: Sequence[float], words: str) -> Markup:
    """Draw a line without axes, to stand beside a number."""
    if len(values) < 2:
        return Markup()
    canvas, x, y = Canvas(96, 28, words, "spark"), Range(0, len(values) - 1), Range.over([0.0, *values], margin=0.0)
    at = [(3 + x.share(i) * 90, 25 - y.share(v) * 22) for i, v in enumerate(values)]
    canvas.add("path", d="M3 25H93", class_="grid")  # zero
    canvas.add("path", d=path(at), class_="line s0")
    canvas.mark(*at[-1], "circle", 2.6, "mark s0")
    return canvas.markup()


def swatch(series: int) -> Markup:
    """Draw the line and the mark of a series, for a legend."""
    name, shape = f"s{series % SERIES}", SHAPES[series % len(SHAPES)]
    canvas = Canvas(30, 12, "", "swatch")
    canvas.add("path", d="M1 6H29", class_=f"line {name}")
    canvas.mark(15.0, 6.0, shape, 4.0, f"mark {name}")
    return canvas.markup()


def _statistic(
    arms: Sequence[Arm],
    rounds: Sequence[Sequence[Selected]],
    value: Callable[[Selected], float | None],
    title: str,
    caption: str,
    *,
    level: float | None = None,
    top: float | None,
) -> Picture:
    series = [[(float(c.round), v) for c in of_arm if (v := value(c)) is not None] for of_arm in rounds]
    if not any(series):
        return Picture(title, caption, Markup())
    asked = [c.round for of_arm in rounds for c in of_arm]
    x = Range(min(asked) - 0.6, max(asked) + 0.6)
    y = Range(0.0, 1.04 * (top or max(v for points in series for _, v in points) or 1.0))
    return _lines(arms, series, title, caption, "round", level=level, x=x, y=y)


def _lines(
    arms: Sequence[Arm],
    series: Sequence[Points],
    title: str,
    caption: str,
    x_label: str,
    *,
    level: float | None = None,
    bands: Sequence[Intervals] = (),
    titles: Sequence[Sequence[str]] = (),
    x: Range | None = None,
    y: Range | None = None,
    size: tuple[float, float] = (WIDTH, HEIGHT),
    name: str = "",
) -> Picture:
    if not any(series):
        return Picture(title, caption, Markup())
    every = [point for points in series for point in points]
    ends = [end for of_arm in bands for pair in of_arm.values() for end in pair]
    x = x or Range.over((a for a, _ in every), margin=0.04)
    y = y or Range.over([*(b for _, b in every), *ends])
    last = "; ".join(f"{arm.label} ends at {p[-1][1]:.3g}" for arm, p in zip(arms, series, strict=True) if p)
    whole = x_label in ("labels", "round")
    plot = Plot(*size, f"{title} over {x_label}: {last}.", x, y, x_label, whole_x=whole, name=name)
    if level is not None:
        plot.level(level)
    for i in reversed(range(len(series))):  # the study itself in front
        points = series[i]
        if i < len(bands) and len(bands[i]) > 1:
            inside = [(a, bands[i][a]) for a, _ in points if a in bands[i]]
            plot.band([(a, low) for a, (low, _) in inside], [(a, high) for a, (_, high) in inside], i)
        shown = titles[i] if titles else [f"{arms[i].label}, {a:g} {x_label}: {number(b)}" for a, b in points]
        plot.line(points, i, shown)
    return Picture(title, caption, plot.markup())


def _same(series: Sequence[Points], other: Sequence[Points]) -> bool:
    return all(
        len(a) == len(b) and np.allclose(np.array(a), np.array(b), rtol=0, atol=1e-9)
        for a, b in zip(series, other, strict=True)
    )
