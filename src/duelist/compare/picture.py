"""A comparison's picture: learning curves, and beside them the differences to the baseline. No state of matplotlib's
is left changed."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from duelist.compare.curves import UNITS, range_of
from duelist.compare.statistics import FEWEST_SEEDS
from duelist.compare.summary import ArmSummary, Band, MetricSummary
from duelist.files.atomic import atomic_path
from duelist.report.figures import COLOURS, LINES, MARKERS, STYLE

INTERVAL = f"95 % interval from {FEWEST_SEEDS} seeds on"
WIDTH, HEIGHT = 10.8, 3.9  # inches, of a row
METADATA: dict[str, dict[str, None]] = {
    "svg": {"Creator": None, "Date": None, "Format": None, "Type": None},
    "png": {"Software": None},
}


def draw(summaries: Sequence[MetricSummary], title: str, stem: Path) -> None:
    """Write `stem`.svg and `stem`.png: a row per metric. Equal numbers give equal files.

    Args:
        summaries: the metrics, one or more.
        title: stands above.
        stem: the files' path without ending.

    Raises:
        StorageError: if the disk is full.
    """
    with mpl.rc_context({**STYLE, "svg.hashsalt": title}):
        figure = Figure(figsize=(WIDTH, 0.7 + HEIGHT * len(summaries)), layout="constrained", facecolor="white")
        figure.suptitle(title, fontsize=11)
        grid = figure.subplots(len(summaries), 2, squeeze=False)
        for (left, right), summary in zip(grid, summaries, strict=True):
            _curves(left, summary)
            _differences(right, summary)
        handles, labels = grid[0][0].get_legend_handles_labels()
        figure.legend(handles, labels, loc="outside lower center", ncols=min(len(labels), 4))
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message="Glyph .* missing")
            for ending, metadata in METADATA.items():
                with atomic_path(stem.with_name(f"{stem.name}.{ending}")) as temporary:
                    figure.savefig(temporary, format=ending, dpi=150, metadata=metadata)


def _curves(axes: Any, summary: MetricSummary) -> None:
    low, high = range_of(summary.metric.name)
    for index, arm in enumerate(summary.arms):
        _band(axes, arm.curve, arm, index, (low, high))
    if summary.target is not None:
        axes.axhline(summary.target, color="#5b6470", linestyle=":", linewidth=1)
    axes.set_title(f"{summary.metric.name}: mean over seeds, {INTERVAL}", fontsize=10)
    unit = UNITS.get(summary.metric.name)
    axes.set_ylabel(summary.metric.name + (f" ({unit})" if unit else ""))
    _label_axis(axes)


def _differences(axes: Any, summary: MetricSummary) -> None:
    low, high = range_of(summary.metric.name)
    axes.axhline(0.0, color="#5b6470", linewidth=1)
    for index, arm in enumerate(summary.arms):
        if arm.difference is not None:
            _band(axes, arm.difference, arm, index, (low - high, high - low))
    axes.set_title(f"paired difference to {summary.baseline}: mean, {INTERVAL}", fontsize=10)
    axes.set_ylabel(f"arm − {summary.baseline}")
    _label_axis(axes)


def _band(axes: Any, band: Band, arm: ArmSummary, index: int, bounds: tuple[float, float]) -> None:
    """A mean curve; its interval, where there is one, is cut to the values that are possible."""
    colour = COLOURS[index % len(COLOURS)]
    if band.half_width_E is not None:
        low_E, high_E = (np.clip(band.mean_E + sign * band.half_width_E, *bounds) for sign in (-1, 1))
        axes.fill_between(band.labels_E, low_E, high_E, color=colour, alpha=0.15, linewidth=0)
    few = "" if arm.final.seeds >= FEWEST_SEEDS else ", too few to tell"
    axes.plot(
        band.labels_E,
        band.mean_E,
        color=colour,
        marker=MARKERS[index % len(MARKERS)],
        linestyle=LINES[index % len(LINES)],
        label=f"{arm.arm} ({arm.final.seeds} seeds){few}",
    )


def _label_axis(axes: Any) -> None:
    axes.set_xlabel("labels")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
    axes.margins(0.03, 0.08)
