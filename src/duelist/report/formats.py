"""Numbers of the report as text."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from duelist.evaluation.metrics import MetricSpec, finite, interval_of

DASH = "–"


def number(value: Any, digits: int = 3) -> str:
    """Format a number with `digits` decimals, or in powers of ten if very small; return a dash if not measured."""
    found = finite(value)
    if found is None:
        return DASH
    if found != 0 and abs(found) < 0.5 * 10**-digits:
        return f"{found:.1e}".replace("-", "−")
    return f"{found:.{digits}f}".replace("-", "−")


def signed(value: float, digits: int = 3) -> str:
    """Format a difference, with its sign."""
    return ("+" if value > 0 else "") + number(value, digits)


def ends(pair: tuple[float, float] | None, digits: int = 3) -> str:
    """Format the ends of an interval; return nothing without one."""
    return "" if pair is None else f"{number(pair[0], digits)} – {number(pair[1], digits)}"


def interval(row: Mapping[str, Any], metric: MetricSpec) -> str:
    """Format the 95 % interval of a metric; return nothing if it has none."""
    return ends(interval_of(metric, row), metric.digits - 1)


def share(value: float | None, of: int) -> str:
    """Format a share as a percentage of a count."""
    return DASH if value is None else f"{100 * value:.0f} % of {of}"


def count(n: int, noun: str) -> str:
    """Format a count with its noun in singular or plural."""
    return f"{n:,} {noun}{'' if n == 1 else 's'}"


def duration(seconds: float) -> str:
    """Format a duration in the unit that a person would use."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    if seconds < 90 * 60:
        return f"{seconds / 60:.0f} min"
    return f"{seconds / 3600:.1f} h"


def few_digits(value: float) -> str:
    """Format a positive number with three significant digits, without an exponent if it is not very small."""
    return f"{value:.3g}" if value >= 1e-4 else number(value)
