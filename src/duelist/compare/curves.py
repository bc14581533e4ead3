"""What the studies of a comparison measured: rows of metrics.jsonl, and the learning curves in them."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from duelist.compare.statistics import Floats
from duelist.errors import RecipeError
from duelist.settings.validation import nearest
from duelist.store.layout import METRICS

Row = Mapping[str, Any]
Rows = Mapping[str, Mapping[int, Sequence[Row]]]  # arm -> seed -> the finished study's rows, the initial model's first
# What is shown if nothing is asked for, as far as it was measured; the first is the main metric.
PREFERRED = (
    "mean_reward",
    "mean_reward_over_groups",
    "mean_reward_weighted",
    "spearman_error",
    "best_of_n_reward",
    "pair_accuracy",
)
UNITS = {"j": "label log-odds"}  # of metrics whose name does not say enough
# Bounds of metrics that have them, by name or by a word of it: an interval past them is cut.
SHARES = ("accuracy", "wins", "brier", "ece")
RANGES = {"win_rate": (0.0, 1.0), "spearman_error": (0.0, 2.0), "log_loss": (0.0, np.inf), "mean_length": (0.0, np.inf)}
BOOKKEEPING = ("round", "labels", "asked")
# Metrics of which less is better, by a word of their name.
LESS_IS_BETTER = ("kl", "loss", "error", "regret", "nll", "ece", "brier", "perplexity")


@dataclass(frozen=True)
class Metric:
    """A metric of metrics.jsonl, and which way is better."""

    name: str
    higher_is_better: bool


@dataclass(frozen=True)
class Curve:
    """A metric over labels in one study: `labels_E` strictly increases."""

    labels_E: Floats
    values_E: Floats


def range_of(metric: str) -> tuple[float, float]:
    """The least and the largest value that a metric can have."""
    share = set(SHARES) & set(metric.lower().split("_"))
    return RANGES.get(metric, (0.0, 1.0) if share else (-np.inf, np.inf))


def read_rows(folder: Path) -> list[dict[str, Any]]:
    """The rows of a study's metrics.jsonl; none if it has closed no round."""
    path = folder / METRICS
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()] if path.is_file() else []


def measured(rows: Rows) -> list[str]:
    """Names of the metrics that are numbers in some row."""
    found: dict[str, None] = {}
    for row in (row for of_arm in rows.values() for of_seed in of_arm.values() for row in of_seed):
        found |= {k: None for k, v in row.items() if k not in BOOKKEEPING and _number(v) is not None}
    return list(found)


def metrics_to_show(wanted: Sequence[str], rows: Rows) -> list[Metric]:
    """The metrics that are shown, the main one first.

    Args:
        wanted: `name`, `name:higher` or `name:lower`, the suffix saying which way is better; empty for the usual ones,
            without those that are equal to another everywhere.
        rows: what was measured.

    Raises:
        RecipeError: if a metric was not measured or a suffix is neither `higher` nor `lower`.
    """
    names = measured(rows)
    if not wanted:
        usual = [name for name in PREFERRED if name in names]
        return [_metric(name) for name in _without_repetitions(usual, rows) or names]
    found = [parse_metric(text) for text in wanted]
    for metric in found:
        if names and metric.name not in names:
            raise RecipeError(
                f"`--metric` must be one of {', '.join(names)}, but got {metric.name!r}.{nearest(metric.name, names)}"
            )
    return list({m.name: m for m in found}.values())


def parse_metric(text: str) -> Metric:
    """A metric from `name`, `name:higher` or `name:lower`.

    Raises:
        RecipeError: if the suffix is another.
    """
    name, colon, direction = text.partition(":")
    if colon and direction not in ("higher", "lower"):
        raise RecipeError(
            f"`--metric` is a name, or a name with `:higher` or `:lower` for which way is better, but got {text!r}."
        )
    return Metric(name, direction == "higher") if colon else _metric(name)


def curve(rows: Sequence[Row], metric: str) -> Curve | None:
    """A study's learning curve in a metric; None if it was never measured.

    Where a round brought no new label, the later measurement counts.
    """
    points = {}
    for row in rows:
        value = _number(row.get(metric))
        if value is not None:
            points[float(row["labels"])] = value
    if not points:
        return None
    labels = sorted(points)
    return Curve(np.array(labels), np.array([points[x] for x in labels]))


def _without_repetitions(names: Sequence[str], rows: Rows) -> list[str]:
    """The names but those whose metric is an earlier one's in every row: groups of one size have its mean, say."""
    every = [row for of_arm in rows.values() for of_seed in of_arm.values() for row in of_seed]
    kept: dict[str, Floats] = {}
    for name in names:
        values = np.array([_number(row.get(name)) for row in every], dtype=np.float64)  # None becomes NaN
        if not any(np.allclose(values, other, rtol=0, atol=1e-9, equal_nan=True) for other in kept.values()):
            kept[name] = values
    return list(kept)


def _metric(name: str) -> Metric:
    return Metric(name, not set(LESS_IS_BETTER) & set(name.lower().split("_")))


def _number(value: Any) -> float | None:
    number = float(value) if isinstance(value, int | float) and not isinstance(value, bool) else None
    return number if number is not None and np.isfinite(number) else None
