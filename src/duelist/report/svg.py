"""Small charts as inline SVG. Colours, type and line widths come from the page's style sheet, by class."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

from markupsafe import Markup, escape

Points = Sequence[tuple[float, float]]
SHAPES = ("circle", "square", "triangle", "diamond")
SERIES = 7  # colours of the style sheet, classes s0 to s6


@dataclass(frozen=True)
class Range:
    """The range of an axis, in units of the data; `low < high`."""

    low: float
    high: float

    @staticmethod
    def over(values: Iterable[float], *, margin: float = 0.06, least: float | None = None) -> Range:
        """Return the range of the values, with a margin on both sides; not below `least`."""
        found = list(values) or [0.0, 1.0]
        low, high = min(found), max(found)
        around = (high - low) * margin or max(abs(high) * margin, 1e-3)
        return Range(low - around if least is None else max(low - around, least), high + around)

    def share(self, value: float) -> float:
        """Return where a value lies: 0 at the low end, 1 at the high end."""
        return (value - self.low) / (self.high - self.low)


def ticks(of: Range, most: int = 5, *, whole: bool = False) -> list[float]:
    """Return at most about `most` round numbers within a range: steps of 1, 2 or 5 times a power of ten."""
    rough = (of.high - of.low) / max(most, 1)
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(power * k for k in (1, 2, 5, 10) if power * k >= rough * 0.999)
    step = max(step, 1.0) if whole else step
    first = math.ceil(of.low / step - 1e-9)
    return [round(i * step, 12) + 0.0 for i in range(first, math.floor(of.high / step + 1e-9) + 1)]


def tick_labels(values: Sequence[float]) -> list[str]:
    """Return the values as text, with as many decimals as tell them apart."""
    step = min((b - a for a, b in pairwise(values)), default=1.0)
    digits = max(0, -math.floor(math.log10(step) + 1e-9))
    return [f"{v:,.{digits}f}".replace("-", "−") for v in values]


class Canvas:
    """An SVG element under construction, which a screen reader reads as one picture with a text.

    Args:
        width: width in units of the drawing; the page scales it.
        height: height in the same units.
        words: what the picture shows, in words; empty if it only decorates.
        name: its class.
    """

    def __init__(self, width: float, height: float, words: str, name: str = "") -> None:
        self.width, self.height = width, height
        read = Markup('role="img" aria-label="{}"').format(words) if words else Markup('aria-hidden="true"')
        shape = Markup('class="{}" viewBox="0 0 {} {}"').format(f"chart {name}".strip(), number(width), number(height))
        self._head = Markup("<svg {} {}>").format(shape, read)
        self._parts: list[Markup] = []

    def add(self, tag: str, content: str = "", title: str = "", **attributes: Any) -> None:
        """Add an element. Underscores in names of attributes become hyphens, a final one is dropped (`class_`).

        Args:
            tag: name of the element.
            content: its text, which is escaped.
            title: text shown while the pointer rests on it.
            attributes: numbers or text.
        """
        given = Markup("").join(
            Markup(' {}="{}"').format(key.rstrip("_").replace("_", "-"), number(v) if isinstance(v, float) else v)
            for key, v in attributes.items()
        )
        inside = Markup("<title>{}</title>").format(title) if title else escape(content)
        self._parts.append(Markup("<{0}{1}>{2}</{0}>").format(Markup(tag), given, inside))

    def text(self, x: float, y: float, content: str, anchor: str = "start", name: str = "") -> None:
        """Add a line of text; `anchor` is `start`, `middle` or `end`."""
        self.add("text", content, x=float(x), y=float(y), text_anchor=anchor, **({"class_": name} if name else {}))

    def mark(self, x: float, y: float, shape: str, size: float, name: str, title: str = "") -> None:
        """Add a mark of one of `SHAPES` around a point."""
        if shape == "circle":
            self.add("circle", title=title, cx=x, cy=y, r=size, class_=name)
            return
        corners = {
            "square": ((-0.9, -0.9), (0.9, -0.9), (0.9, 0.9), (-0.9, 0.9)),
            "triangle": ((0, -1.2), (1.1, 0.8), (-1.1, 0.8)),
            "diamond": ((0, -1.3), (1.3, 0), (0, 1.3), (-1.3, 0)),
        }[shape]
        self.add("path", title=title, d=path([(x + size * a, y + size * b) for a, b in corners]) + "Z", class_=name)

    def markup(self) -> Markup:
        """Return the element."""
        return self._head + Markup("").join(self._parts) + Markup("</svg>")


class Plot(Canvas):
    """A canvas with two axes, grid lines and tick labels.

    Args:
        width: width in units of the drawing.
        height: height in the same units.
        words: what the picture shows, in words.
        x: range of the x-axis.
        y: range of the y-axis.
        x_label: name of the x-axis, written below it.
        whole_x: whether ticks of the x-axis are at whole numbers only.
        x_ticks: numbers of the x-axis, instead of round numbers.
        name: class of the element.
    """

    LEFT, RIGHT, TOP, BOTTOM = 46.0, 12.0, 10.0, 40.0

    def __init__(
        self,
        width: float,
        height: float,
        words: str,
        x: Range,
        y: Range,
        x_label: str,
        *,
        whole_x: bool = False,
        x_ticks: Sequence[float] = (),
        name: str = "",
    ) -> None:
        super().__init__(width, height, words, name)
        self.x, self.y = x, y
        at_y = ticks(y, 7 if height > 250 else 5)
        for value, label in zip(at_y, tick_labels(at_y), strict=True):
            self._across(value, "grid")
            self.text(self.LEFT - 7, self.up(value) + 4, label, "end")
        at_x = list(x_ticks) or ticks(x, 6, whole=whole_x)
        for value, label in zip(at_x, tick_labels(at_x), strict=True):
            self.text(self.across(value), height - self.BOTTOM + 16, label, "middle")
        self.text((self.LEFT + width - self.RIGHT) / 2, height - 5, x_label, "middle", "axis-name")

    def across(self, value: float) -> float:
        """Return the horizontal place of a value."""
        return self.LEFT + self.x.share(value) * (self.width - self.LEFT - self.RIGHT)

    def up(self, value: float) -> float:
        """Return the vertical place of a value."""
        return self.height - self.BOTTOM - self.y.share(value) * (self.height - self.TOP - self.BOTTOM)

    def at(self, points: Points) -> list[tuple[float, float]]:
        """Return the places of points of the data."""
        return [(self.across(a), self.up(b)) for a, b in points]

    def level(self, value: float) -> None:
        """Draw a dotted horizontal line at a value to compare with, if it is in range."""
        if self.y.low <= value <= self.y.high:
            self._across(value, "level")

    def _across(self, value: float, name: str) -> None:
        y = self.up(value)
        self.add("path", d=path([(self.LEFT, y), (self.width - self.RIGHT, y)]), class_=name)

    def band(self, low: Points, high: Points, series: int) -> None:
        """Fill the area between two curves."""
        self.add("path", d=path([*self.at(low), *reversed(self.at(high))]) + "Z", class_=f"band s{series % SERIES}")

    def line(self, points: Points, series: int, titles: Sequence[str] = ()) -> None:
        """Draw a curve with a mark at each point; a title appears while the pointer rests on its mark."""
        places = self.at(points)
        if len(places) > 1:
            self.add("path", d=path(places), class_=f"line s{series % SERIES}")
        small = 3.6 if len(places) <= 30 else 1.8
        for i, (a, b) in enumerate(places):
            title = titles[i] if i < len(titles) else ""
            self.mark(a, b, SHAPES[series % len(SHAPES)], small, f"mark s{series % SERIES}", title)


def path(points: Points) -> str:
    """Return the path through points, for the attribute `d`."""
    return "M" + "L".join(f"{number(a)} {number(b)}" for a, b in points)


def dots(points: Points) -> str:
    """Return a path that draws a dot at each point, if the stroke has round caps: the shortest form of many dots."""
    return "".join(f"M{number(a)} {number(b)}h0" for a, b in points)


def number(value: float) -> str:
    """Return a coordinate with at most one decimal."""
    return f"{value:.1f}".removesuffix(".0")
