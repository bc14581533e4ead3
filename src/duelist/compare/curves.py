"""Metrics of a comparison's studies: rows of metrics.jsonl and their learning curves."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np

from duelist.compare.statistics import Floats
from duelist.errors import RecipeError
from duelist.evaluation import metrics
from duelist.evaluation.metrics import SHARE, MetricSpec, finite, shown_in
from duelist.settings.validation import nearest
from duelist.store.layout import METRICS

Row = Mapping[str, Any]
Rows = Mapping[str, Mapping[int, Sequence[Row]]]  # arm -> seed -> rows of the finished study, initial model first
# For metrics that are not in the table, words in the name decide: lower is better; values are from 0 to 1.
LESS_IS_BETTER = ("kl", "loss", "error", "regret", "nll", "ece", "brier", "perplexity")
SHARES = ("accuracy", "wins", "brier", "ece")


@dataclass(frozen=True)
class Metric:
    """Metric of metrics.jsonl and its direction."""

    name: str
    higher_is_better: bool


# What a learning curve may be drawn over: a column of metrics.jsonl, and its name in tables.
OVER = {"labels": "labels", "responses": "responses", "annotation_seconds": "seconds"}


@dataclass(frozen=True)
class Curve:
    """Learning curve of one study: a metric over labels, or over another effort of people (`OVER`).

    `labels_E` is strictly increasing.
    """

    labels_E: Floats
    values_E: Floats


def described(name: str) -> MetricSpec:
    """Return a metric's entry in the table, or one guessed from the words of its name."""
    words = set(name.lower().split("_"))
    better: Literal["higher", "lower"] = "lower" if words & set(LESS_IS_BETTER) else "higher"
    bounds = SHARE if words & set(SHARES) else (-np.inf, np.inf)
    guess = MetricSpec(name, None, name, better=better, range=bounds)
    return next((m for m in metrics.METRICS if m.name == name), guess)


def read_rows(folder: Path) -> list[dict[str, Any]]:
    """Return the rows of a study's metrics.jsonl; empty if it has closed no round."""
    path = folder / METRICS
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()] if path.is_file() else []


def measured(rows: Rows) -> list[str]:
    """Return the names of the metrics that are numbers in at least one row."""
    found: dict[str, None] = {}
    for row in (row for of_arm in rows.values() for of_seed in of_arm.values() for row in of_seed):
        found |= {k: None for k, v in row.items() if finite(v) is not None and described(k).of != "round"}
    return list(found)


def metrics_to_show(wanted: Sequence[str], rows: Rows) -> list[Metric]:
    """Return the metrics to show, the main one first.

    Args:
        wanted: `name`, `name:higher` or `name:lower`; the suffix gives the better direction. If empty, the default
            metrics, except those that equal an earlier one in every row.
        rows: measured rows.

    Raises:
        RecipeError: if a metric was not measured or a suffix is neither `higher` nor `lower`.
    """
    names = measured(rows)
    if not wanted:
        usual = [m.name for m in shown_in("comparison") if m.name in names]
        return [_metric(name) for name in _without_repetitions(usual, rows) or names]
    found = [parse_metric(text) for text in wanted]
    for metric in found:
        if names and metric.name not in names:
            raise RecipeError(
                f"`--metric` must be one of {', '.join(names)}, but got {metric.name!r}.{nearest(metric.name, names)}"
            )
    return list({m.name: m for m in found}.values())


def parse_metric(text: str) -> Metric:
    """Parse a metric from `name`, `name:higher` or `name:lower`.

    Raises:
        RecipeError: if there is another suffix.
    """
    name, colon, direction = text.partition(":")
    if colon and direction not in ("higher", "lower"):
        raise RecipeError(
            f"`--metric` is a name, or a name with `:higher` or `:lower` for which way is better, but got {text!r}."
        )
    return Metric(name, direction == "higher") if colon else _metric(name)


def require_effort(over: str) -> None:
    """Check a value of `--over`.

    Raises:
        RecipeError: if it is not one of `OVER`.
    """
    if over not in OVER:
        raise RecipeError(f"`--over` must be one of {', '.join(OVER)}, but got {over!r}: use one of them.")


def curve(rows: Sequence[Row], metric: str, over: str = "labels") -> Curve | None:
    """Return a study's learning curve in a metric over a column of `OVER`; None if it was never measured.

    If a round added no label, the later measurement counts.
    """
    points = {}
    for row in rows:
        value, effort = finite(row.get(metric)), finite(row.get(over))
        if value is not None and effort is not None:
            points[effort] = value
    if not points:
        return None
    labels = sorted(points)
    return Curve(np.array(labels), np.array([points[x] for x in labels]))


def _without_repetitions(names: Sequence[str], rows: Rows) -> list[str]:
    """Drop names whose metric equals an earlier one in every row, such as a mean over groups of equal size."""
    every = [row for of_arm in rows.values() for of_seed in of_arm.values() for row in of_seed]
    kept: dict[str, Floats] = {}
    for name in names:
        values = np.array([finite(row.get(name)) for row in every], dtype=np.float64)  # None becomes NaN
        if not any(np.allclose(values, other, rtol=0, atol=1e-9, equal_nan=True) for other in kept.values()):
            kept[name] = values
    return list(kept)


def _metric(name: str) -> Metric:
    return Metric(name, described(name).better != "lower")
