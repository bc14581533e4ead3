"""The files of docs/evidence, as the tables of its page read them."""

from __future__ import annotations

from functools import cache
from pathlib import Path

from duelist.compare.curves import Rows, parse_metric
from duelist.compare.summary import MetricSummary, summarise
from duelist.suite.plan import RANDOM
from duelist.suite.record import CURVES, read_curves

DOCS = Path(__file__).resolve().parents[1] / "docs"
FILES = DOCS / "evidence"
Table = list[list[str]]


@cache
def curves(folder: str) -> Rows:
    """Return the rows of a comparison, by arm and seed."""
    return read_curves(FILES / folder / CURVES)


def summary(rows: Rows, metric: str) -> MetricSummary:
    """Return a comparison in one metric, against random selection or the first arm."""
    baseline = RANDOM if RANDOM in rows else next(iter(rows))
    found = summarise(rows, parse_metric(metric), baseline)
    assert found is not None  # the metric was measured
    return found
