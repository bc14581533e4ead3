"""Figure of a comparison: learning curves, and next to them the differences to the baseline."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from duelist.compare.curves import OVER, described
from duelist.compare.statistics import FEWEST_SEEDS
from duelist.compare.summary import ArmSummary, Band, MetricSummary
from duelist.files.atomic import atomic_path
from duelist.report.plots import EDGE, colour, draw_level, draw_line, integer_axis, new_figure, save, style

INTERVAL = f"95 % interval from {FEWEST_SEEDS} seeds on"
WIDTH, HEIGHT = 10.8, 3.9  # inches, per row


def draw(summaries: Sequence[MetricSummary], title: str, stem: Path) -> None:
    """Write `stem`.svg and `stem`.png with a row per metric. Equal numbers give equal files.

    Args:
        summaries: one or more metrics.
        title: title of the figure.
        stem: path of the files without extension.

    Raises:
        StorageError: if the disk is full.
    """
    with style(title):
        figure = new_figure(WIDTH, 0.7 + HEIGHT * len(summaries))
        figure.suptitle(title, fontsize=11)
        grid = figure.subplots(len(summaries), 2, squeeze=False)
        for (left, right), summary in zip(grid, summaries, strict=True):
            _curves(left, summary)
            _differences(right, summary)
        handles, labels = grid[0][0].get_legend_handles_labels()
        figure.legend(handles, labels, loc="outside lower center", ncols=min(len(labels), 4))
        for ending in ("svg", "png"):
            with atomic_path(stem.with_name(f"{stem.name}.{ending}")) as temporary:
                save(figure, temporary, ending)


def _curves(axes: Any, summary: MetricSummary) -> None:
    metric = described(summary.metric.name)
    for index, arm in enumerate(summary.arms):
        _band(axes, arm.curve, arm, index, metric.range)
    if summary.target is not None:
        draw_level(axes, summary.target)
    axes.set_title(f"{summary.metric.name}: mean over seeds, {INTERVAL}", fontsize=10)
    axes.set_ylabel(metric.heading)
    _label_axis(axes, summary)


def _differences(axes: Any, summary: MetricSummary) -> None:
    low, high = described(summary.metric.name).range
    axes.axhline(0.0, color=EDGE, linewidth=1)
    for index, arm in enumerate(summary.arms):
        if arm.difference is not None:
            _band(axes, arm.difference, arm, index, (low - high, high - low))
    axes.set_title(f"paired difference to {summary.baseline}: mean, {INTERVAL}", fontsize=10)
    axes.set_ylabel(f"arm − {summary.baseline}")
    _label_axis(axes, summary)


def _band(axes: Any, band: Band, arm: ArmSummary, index: int, bounds: tuple[float, float]) -> None:
    """Draw a mean curve and its interval, if any, clipped to the possible values."""
    if band.half_width_E is not None:
        low_E, high_E = (np.clip(band.mean_E + sign * band.half_width_E, *bounds) for sign in (-1, 1))
        axes.fill_between(band.labels_E, low_E, high_E, color=colour(index), alpha=0.15, linewidth=0)
    few = "" if arm.final.seeds >= FEWEST_SEEDS else ", too few to tell"
    draw_line(axes, band.labels_E, band.mean_E, index, f"{arm.arm} ({arm.final.seeds} seeds){few}")


def _label_axis(axes: Any, summary: MetricSummary) -> None:
    axes.set_xlabel(OVER[summary.over])
    integer_axis(axes)
    axes.margins(0.03, 0.08)
