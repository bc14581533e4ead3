"""Figures of the report, as inline SVG. They neither use nor change matplotlib's global state."""

from __future__ import annotations

import io
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from html import escape
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from duelist.evaluation.metrics import MetricSpec, finite, shown_in
from duelist.report.plots import colour, draw_level, draw_line, integer_axis, new_figure, save, style
from duelist.report.record import Arm, Selected

Series = Sequence[tuple[float, float]]


@dataclass(frozen=True)
class Picture:
    """Figure with its title, its caption and its SVG element; `svg` is empty if there is nothing to draw."""

    title: str
    caption: str
    svg: str


def metric_series(arm: Arm, x: str, y: str) -> list[tuple[float, float]]:
    """Return the points of the closed rounds at which both metrics were measured."""
    points = [(finite(m.get(x)), finite(m.get(y))) for m in arm.metrics]
    return [(a, b) for a, b in points if a is not None and b is not None]


def metric_figure(arms: Sequence[Arm], metric: MetricSpec) -> Picture:
    """Draw a metric over labels, one line per arm."""
    series = [metric_series(arm, "labels", metric.name) for arm in arms]
    title = metric.heading[0].upper() + metric.heading[1:]
    return _lines(arms, series, title, metric.meaning, "labels", metric.heading, level=metric.level)


def reward_kl_figure(arms: Sequence[Arm], caption: str) -> Picture:
    """Draw mean reward over the KL from the base model; each point is annotated with its labels."""
    series = [metric_series(arm, "kl", "mean_reward") for arm in arms]

    def name_points(axes: Any) -> None:
        for index, arm in enumerate(arms):
            measured = [m for m in arm.metrics if None not in (finite(m.get("kl")), finite(m.get("mean_reward")))]
            for m in _spread(measured, 5):
                axes.annotate(
                    str(m["labels"]),
                    (m["kl"], m["mean_reward"]),
                    xytext=(4, 5 if index % 2 == 0 else -11),
                    textcoords="offset points",
                    fontsize=8,
                    color=colour(index),
                )

    x = "KL from the base model (nats per response)"
    return _lines(arms, series, "Reward and KL", caption, x, "mean reward", decorate=name_points)


def selected_figure(
    arms: Sequence[Arm],
    rounds: Sequence[Sequence[Selected]],
    value: Callable[[Selected], float | None],
    title: str,
    caption: str,
    level: float | None = None,
    top: float | None = None,
) -> Picture:
    """Draw a statistic of the asked questions over rounds, from 0 to `top`, one line per arm."""
    series = [[(float(c.round), v) for c in of_arm if (v := value(c)) is not None] for of_arm in rounds]

    def fix_scale(axes: Any) -> None:
        axes.set_ylim(0, 1.04 * (top or max(p[1] for points in series for p in points) or 1.0))
        _round_axis(axes, rounds)

    return _lines(arms, series, title, caption, "round", title.lower(), level=level, decorate=fix_scale)


def margin_figure(arms: Sequence[Arm], rounds: Sequence[Sequence[Selected]], caption: str) -> Picture:
    """Draw the distribution of |margin| in each round, one box per arm."""
    title = "Margins of the asked questions"
    if not any(rounds):
        return Picture(title, caption, "")
    with style(title):
        figure, axes = _axes("round", "|margin| (nats · β)")
        width = 0.8 / len(arms)
        for index, of_arm in enumerate(rounds):
            if not of_arm:
                continue
            ink = colour(index)
            low, q1, median, q3, high = np.array([np.percentile(c.margin_B, (5, 25, 50, 75, 95)) for c in of_arm]).T
            x = np.array([c.round + (index - (len(arms) - 1) / 2) * width for c in of_arm])
            # Axes.boxplot would import pyplot, and with it a GUI backend.
            axes.bar(x, q3 - q1, 0.85 * width, q1, color=f"{ink}44", edgecolor=ink, label=arms[index].label)
            axes.hlines(median, x - 0.42 * width, x + 0.42 * width, color=ink, linewidth=2)
            axes.vlines([x, x], [low, q3], [q1, high], color=ink, linewidth=1)
            axes.hlines([low, high], [x - 0.2 * width] * 2, [x + 0.2 * width] * 2, color=ink, linewidth=1)
        axes.set_ylim(bottom=0)
        _round_axis(axes, rounds)
        _legend(axes, arms)
        return Picture(title, caption, _svg(figure, f"{title}. {caption}"))


def _lines(
    arms: Sequence[Arm],
    series: Sequence[Series],
    title: str,
    caption: str,
    x: str,
    y: str,
    *,
    level: float | None = None,
    decorate: Callable[[Any], None] | None = None,
) -> Picture:
    if not any(series):
        return Picture(title, caption, "")
    with style(title):
        figure, axes = _axes(x, y)
        if level is not None:
            draw_level(axes, level)
        for index, (arm, points) in enumerate(zip(arms, series, strict=True)):
            draw_line(axes, [p[0] for p in points], [p[1] for p in points], index, arm.label)
        if x == "labels":
            integer_axis(axes)
        axes.margins(0.06, 0.1)
        if decorate is not None:
            decorate(axes)
        _legend(axes, arms)
        last = "; ".join(f"{arm.label} ends at {p[-1][1]:.3g}" for arm, p in zip(arms, series, strict=True) if p)
        return Picture(title, caption, _svg(figure, f"{title} over {x}: {last}."))


def _axes(x: str, y: str) -> tuple[Figure, Any]:
    figure = new_figure(5.4, 3.5)
    axes = figure.add_subplot()
    axes.set_xlabel(x)
    axes.set_ylabel(y)
    return figure, axes


def _round_axis(axes: Any, rounds: Sequence[Sequence[Selected]]) -> None:
    """Set the same x-axis for every figure over rounds, to make them comparable."""
    asked_in = [c.round for of_arm in rounds for c in of_arm]
    axes.set_xlim(min(asked_in) - 0.6, max(asked_in) + 0.6)
    integer_axis(axes)


def _legend(axes: Any, arms: Sequence[Arm]) -> None:
    if len(arms) > 1:
        axes.figure.legend(loc="outside upper left", ncols=min(len(arms), 3))


def _svg(figure: Figure, words: str) -> str:
    """Return the figure as an `<svg>` element with `words` as its text for screen readers."""
    target = io.StringIO()
    save(figure, target, "svg")
    text = target.getvalue()
    text = text[text.index("<svg") :]
    # Inside HTML, namespaces are implicit and ids must be unique; nothing refers to the ids of groups.
    text = re.sub(r'\sxmlns(:\w+)?="[^"]*"', "", text)
    text = re.sub(r'<g id="[^"]*"', "<g", text)
    return text.replace("<svg", f'<svg role="img" aria-label="{escape(words)}"', 1)


def _spread(items: Sequence[Any], most: int) -> list[Any]:
    """Return at most `most` items, evenly spaced, including the first and the last."""
    if len(items) <= most:
        return list(items)
    return [items[round(i * (len(items) - 1) / (most - 1))] for i in range(most)]


def result_figures(arms: Sequence[Arm]) -> list[Picture]:
    """Return the figures of the arms' metrics over labels; unmeasured metrics have an empty figure."""
    cost = "What the reward cost in distance from the base model; points are named by labels."
    return [*(metric_figure(arms, metric) for metric in shown_in("figures")), reward_kl_figure(arms, cost)]


def choice_figures(arms: Sequence[Arm], rounds: Sequence[Sequence[Selected]]) -> list[Picture]:
    """Return the figures of what the arms selected, round by round."""
    return [
        margin_figure(arms, rounds, "|margin| before training: median, quartiles, 5 % and 95 %."),
        selected_figure(
            arms,
            rounds,
            lambda c: c.ranking_accuracy,
            "Ranking accuracy",
            "Share of preferences that the model already ranked right, before training on them.",
            level=0.5,
            top=1.0,
        ),
        selected_figure(
            arms,
            rounds,
            lambda c: c.similarity,
            "Similarity to earlier questions",
            "Largest Jaccard similarity of a question's response tokens to any asked before; the mean over questions.",
            top=1.0,
        ),
        selected_figure(arms, rounds, lambda c: c.length, "Response length (tokens)", "Mean over the asked responses."),
    ]
