"""Shared style of the figures of reports and comparisons. matplotlib's global state stays unchanged."""

from __future__ import annotations

import warnings
from contextlib import AbstractContextManager
from typing import Any

import matplotlib as mpl
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

# Okabe and Ito's colour-blind-safe palette; markers and lines also differ, for print in grey.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
MARKERS = ("o", "s", "^", "D", "v", "P", "X")
LINES = ("-", "--", "-.", ":")
EDGE = "#5b6470"
_STYLE = {
    "svg.fonttype": "none",  # text stays text: searchable, and readable by screen readers
    "font.family": "sans-serif",
    "font.size": 10,
    "text.parse_math": False,  # a dollar sign in a name is not math
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "grid.color": "#e3e6ea",
    "grid.linewidth": 0.8,
    "axes.axisbelow": True,
    "axes.edgecolor": EDGE,
    "legend.frameon": False,
    "lines.markersize": 5,
}
_METADATA: dict[str, dict[str, None]] = {  # nothing that differs between runs: equal numbers give equal files
    "svg": {"Creator": None, "Date": None, "Format": None, "Type": None},
    "png": {"Software": None},
}


def style(title: str) -> AbstractContextManager[None]:
    """Return a context that sets the style; ids inside an SVG depend only on the title."""
    context: AbstractContextManager[None] = mpl.rc_context({**_STYLE, "svg.hashsalt": title})
    return context


def new_figure(width: float, height: float) -> Figure:
    """Return an empty figure of the given width and height in inches."""
    return Figure(figsize=(width, height), layout="constrained", facecolor="white")


def colour(index: int) -> str:
    """Return the colour of the arm at this position."""
    return COLOURS[index % len(COLOURS)]


def draw_line(axes: Any, x: Any, y: Any, index: int, label: str) -> None:
    """Draw the line of the arm at this position, in its colour, marker and line style."""
    marker, line = MARKERS[index % len(MARKERS)], LINES[index % len(LINES)]
    axes.plot(x, y, color=colour(index), marker=marker, linestyle=line, label=label)


def draw_level(axes: Any, level: float) -> None:
    """Draw a dotted horizontal line at a value to compare with."""
    axes.axhline(level, color=EDGE, linestyle=":", linewidth=1)


def integer_axis(axes: Any) -> None:
    """Place ticks of the x-axis only at integers."""
    axes.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))


def save(figure: Figure, target: Any, ending: str) -> None:
    """Write a figure as `svg` or `png`. The same figure gives the same bytes."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Glyph .* missing")  # a browser uses its own fonts
        figure.savefig(target, format=ending, dpi=150, metadata=_METADATA[ending])
