"""The report's figures, as SVG to stand inside a page. Nothing of matplotlib's global state is used or left changed."""

from __future__ import annotations

import io
import re
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from html import escape
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from duelist.report.record import Arm, Selected, finite

# Okabe and Ito's colours, told apart by colour-blind readers; markers and lines differ too, for grey paper.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
MARKERS = ("o", "s", "^", "D", "v", "P", "X")
LINES = ("-", "--", "-.", ":")
STYLE = {
    "svg.fonttype": "none",  # text stays text: searchable, and read out
    "font.family": "sans-serif",
    "font.size": 10,
    "text.parse_math": False,  # a name with a dollar sign is a name
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "grid.color": "#e3e6ea",
    "grid.linewidth": 0.8,
    "axes.axisbelow": True,
    "axes.edgecolor": "#5b6470",
    "legend.frameon": False,
    "lines.markersize": 5,
}
Series = Sequence[tuple[float, float]]


@dataclass(frozen=True)
class Picture:
    """A figure: its title, what it shows in words, and the SVG element; empty if there was nothing to draw."""

    title: str
    caption: str
    svg: str


def metric_series(arm: Arm, x: str, y: str) -> list[tuple[float, float]]:
    """The points of the closed rounds at which both metrics were measured."""
    points = [(finite(m.get(x)), finite(m.get(y))) for m in arm.metrics]
    return [(a, b) for a, b in points if a is not None and b is not None]


def metric_figure(arms: Sequence[Arm], metric: str, title: str, caption: str, level: float | None = None) -> Picture:
    """A metric over labels, one line per arm, with a dotted line at `level`."""
    series = [metric_series(arm, "labels", metric) for arm in arms]
    return _lines(
        arms, series, title, caption, "labels", title if title.startswith("J ") else title.lower(), level=level
    )


def reward_kl_figure(arms: Sequence[Arm], caption: str) -> Picture:
    """Mean reward over the distance from the initial model, each point named by its labels."""
    series = [metric_series(arm, "kl", "mean_reward") for arm in arms]

    def name_points(axes: Any) -> None:
        for index, arm in enumerate(arms):
            measured = [m for m in arm.metrics if finite(m.get("kl")) is not None]
            measured = [m for m in measured if finite(m.get("mean_reward")) is not None]
            for m in _spread(measured, 5):
                axes.annotate(
                    str(m["labels"]),
                    (m["kl"], m["mean_reward"]),
                    xytext=(4, 5 if index % 2 == 0 else -11),
                    textcoords="offset points",
                    fontsize=8,
                    color=COLOURS[index % len(COLOURS)],
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
    """A number about the asked pairs over rounds, from 0 to `top`, one line per arm."""
    series = [[(float(c.round), v) for c in of_arm if (v := value(c)) is not None] for of_arm in rounds]

    def fix_scale(axes: Any) -> None:
        axes.set_ylim(0, 1.04 * (top or max(p[1] for points in series for p in points) or 1.0))
        _round_axis(axes, rounds)

    return _lines(arms, series, title, caption, "round", title.lower(), level=level, decorate=fix_scale)


def margin_figure(arms: Sequence[Arm], rounds: Sequence[Sequence[Selected]], caption: str) -> Picture:
    """The distribution of |margin| in each round, one box per arm."""
    title = "Margins of the asked pairs"
    if not any(rounds):
        return Picture(title, caption, "")
    with mpl.rc_context({**STYLE, "svg.hashsalt": title}):
        figure, axes = _axes("round", "|margin| (nats · β)")
        width = 0.8 / len(arms)
        for index, of_arm in enumerate(rounds):
            if not of_arm:
                continue
            colour = COLOURS[index % len(COLOURS)]
            low, q1, median, q3, high = np.array([np.percentile(c.margin_B, (5, 25, 50, 75, 95)) for c in of_arm]).T
            x = np.array([c.round + (index - (len(arms) - 1) / 2) * width for c in of_arm])
            # Axes.boxplot would load pyplot, and with it a window system's backend.
            axes.bar(x, q3 - q1, 0.85 * width, q1, color=f"{colour}44", edgecolor=colour, label=arms[index].label)
            axes.hlines(median, x - 0.42 * width, x + 0.42 * width, color=colour, linewidth=2)
            axes.vlines([x, x], [low, q3], [q1, high], color=colour, linewidth=1)
            axes.hlines([low, high], [x - 0.2 * width] * 2, [x + 0.2 * width] * 2, color=colour, linewidth=1)
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
    with mpl.rc_context({**STYLE, "svg.hashsalt": title}):
        figure, axes = _axes(x, y)
        if level is not None:
            axes.axhline(level, color="#5b6470", linestyle=":", linewidth=1)
        for index, (arm, points) in enumerate(zip(arms, series, strict=True)):
            axes.plot(
                [p[0] for p in points],
                [p[1] for p in points],
                color=COLOURS[index % len(COLOURS)],
                marker=MARKERS[index % len(MARKERS)],
                linestyle=LINES[index % len(LINES)],
                label=arm.label,
            )
        if x == "labels":
            axes.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
        axes.margins(0.06, 0.1)
        if decorate is not None:
            decorate(axes)
        _legend(axes, arms)
        last = "; ".join(f"{arm.label} ends at {p[-1][1]:.3g}" for arm, p in zip(arms, series, strict=True) if p)
        return Picture(title, caption, _svg(figure, f"{title} over {x}: {last}."))


def _axes(x: str, y: str) -> tuple[Figure, Any]:
    figure = Figure(figsize=(5.4, 3.5), layout="constrained", facecolor="white")
    axes = figure.add_subplot()
    axes.set_xlabel(x)
    axes.set_ylabel(y)
    return figure, axes


def _round_axis(axes: Any, rounds: Sequence[Sequence[Selected]]) -> None:
    """The same axis under every figure of rounds, so that they can be read together."""
    asked_in = [c.round for of_arm in rounds for c in of_arm]
    axes.set_xlim(min(asked_in) - 0.6, max(asked_in) + 0.6)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))


def _legend(axes: Any, arms: Sequence[Arm]) -> None:
    if len(arms) > 1:
        axes.figure.legend(loc="outside upper left", ncols=min(len(arms), 3))


def _svg(figure: Figure, words: str) -> str:
    """The figure as an `<svg>` element that says `words` to a screen reader."""
    target = io.StringIO()
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Glyph .* missing")  # the browser has fonts of its own
        metadata = {"Creator": None, "Date": None, "Format": None, "Type": None}
        figure.savefig(target, format="svg", metadata=metadata)
    text = target.getvalue()
    text = text[text.index("<svg") :]
    # In a page the name spaces are known, and ids must be unique: those of groups name nothing that is referred to.
    text = re.sub(r'\sxmlns(:\w+)?="[^"]*"', "", text)
    text = re.sub(r'<g id="[^"]*"', "<g", text)
    return text.replace("<svg", f'<svg role="img" aria-label="{escape(words)}"', 1)


def _spread(items: Sequence[Any], most: int) -> list[Any]:
    """At most so many of the items, evenly spread, the first and the last among them."""
    if len(items) <= most:
        return list(items)
    return [items[round(i * (len(items) - 1) / (most - 1))] for i in range(most)]


def result_figures(arms: Sequence[Arm]) -> list[Picture]:
    """What the arms have reached, by labels; what was not measured has no figure."""
    held_out = "on held-out prompts after each round; 0 labels is the initial model."
    return [
        metric_figure(arms, "mean_reward", "Mean reward", f"Learning curve: mean reward {held_out}"),
        metric_figure(
            arms, "mean_reward_over_groups", "Mean reward over groups", "Each group of prompts counts the same."
        ),
        metric_figure(
            arms, "mean_reward_weighted", "Weighted mean reward", "Each prompt counts by the recipe's weight column."
        ),
        metric_figure(
            arms, "win_rate", "Win rate", "Share of held-out prompts won against the initial model; equal is ½.", 0.5
        ),
        reward_kl_figure(arms, "What the reward cost in distance from the base model; points are named by labels."),
        metric_figure(
            arms,
            "j",
            "J (label log-odds)",
            "Mean reward over the annotator's Bradley–Terry temperature, less β · KL: what DPO maximises if the reward "
            "is its own.",
        ),
        metric_figure(
            arms, "pair_accuracy", "Pair accuracy", "Held-out pairs that the reward model orders right.", 0.5
        ),
        metric_figure(
            arms,
            "spearman_error",
            "1 − Spearman",
            "1 − rank correlation with the true reward within prompts; lower is better.",
        ),
        metric_figure(arms, "best_of_n_reward", "Best-of-N reward", "True reward of the response that scores highest."),
        metric_figure(arms, "log_loss", "Log loss", "Of held-out labels under the reward model, in nats."),
    ]


def choice_figures(arms: Sequence[Arm], rounds: Sequence[Sequence[Selected]]) -> list[Picture]:
    """What the arms have selected, round by round."""
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
            "Similarity to earlier pairs",
            "Largest Jaccard similarity of a pair's response tokens to any pair asked before; the mean over pairs.",
            top=1.0,
        ),
        selected_figure(arms, rounds, lambda c: c.length, "Response length (tokens)", "Mean over the asked responses."),
    ]
