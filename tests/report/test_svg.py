"""Axes and elements of the report's drawings."""

from __future__ import annotations

from xml.etree import ElementTree

import pytest
from hypothesis import given
from hypothesis import strategies as st

from duelist.report.svg import Canvas, Plot, Range, dots, path, tick_labels, ticks


@given(st.floats(-1e6, 1e6), st.floats(1e-3, 1e6), st.integers(4, 8))
def test_ticks_are_few_round_numbers_that_their_labels_tell_apart(low: float, width: float, most: int) -> None:
    of = Range(low, low + width)
    found = ticks(of, most)
    assert 0 < len(found) <= most + 1
    assert all(of.low - 1e-6 * width <= x <= of.high + 1e-6 * width for x in found)
    labels = tick_labels(found)
    assert len(set(labels)) == len(labels)
    for value, label in zip(found, labels, strict=True):
        assert float(label.replace(",", "").replace("−", "-")) == pytest.approx(value, abs=1e-9 * max(1, abs(value)))


def test_ticks_by_hand() -> None:
    assert ticks(Range(0.0, 1.04)) == [0.0, 0.5, 1.0] and tick_labels([0.0, 0.5, 1.0]) == ["0.0", "0.5", "1.0"]
    assert ticks(Range(0.4, 8.6), 6, whole=True) == [2.0, 4.0, 6.0, 8.0]
    assert ticks(Range(0.4, 2.6), 6, whole=True) == [1.0, 2.0]
    assert tick_labels([-1500.0, 0.0, 1500.0]) == ["−1,500", "0", "1,500"]


def test_a_range_holds_its_values_and_a_single_one() -> None:
    assert Range.over([1.0, 3.0], margin=0.5) == Range(0.0, 4.0)
    alone = Range.over([2.0])
    assert alone.low < 2.0 < alone.high and Range.over([0.0]).low < 0.0
    assert Range.over([0.1, 1.0], margin=1.0, least=0.0).low == 0.0
    assert Range(1.0, 3.0).share(2.0) == 0.5


def test_words_cannot_become_markup() -> None:
    evil = "<script>&\"'</script>"
    canvas = Canvas(10, 10, evil, "map")
    canvas.text(1, 2, evil)
    canvas.mark(1.0, 2.0, "circle", 3.0, "mark s0", evil)
    canvas.add("path", d=evil, class_="line")
    root = ElementTree.fromstring(str(canvas.markup()))
    assert root.get("aria-label") == root[0].text == root[1][0].text == root[2].get("d") == evil
    assert root.get("role") == "img"
    assert "aria-hidden" in Canvas(1, 1, "").markup() and "role" not in Canvas(1, 1, "").markup()


def test_places_of_a_plot() -> None:
    plot = Plot(200, 100, "words", Range(0.0, 10.0), Range(0.0, 1.0), "labels")
    assert (plot.across(0.0), plot.across(10.0)) == (plot.LEFT, 200 - plot.RIGHT)
    assert (plot.up(0.0), plot.up(1.0)) == (100 - plot.BOTTOM, plot.TOP)
    plot.level(2.0)  # out of range: nothing
    assert "level" not in plot.markup()
    plot.line([(0.0, 0.0), (10.0, 1.0)], 8, ["first"])
    root = ElementTree.fromstring(str(plot.markup()))
    (line,) = (e for e in root if e.get("class") == "line s1")
    assert line.get("d") == path([(46.0, 60.0), (188.0, 10.0)]) == "M46 60L188 10"
    assert [e[0].text for e in root if e.get("class") == "mark s1" and len(e)] == ["first"]
    assert dots([(1.0, 2.0), (3.25, 4.0)]) == "M1 2h0M3.2 4h0"
