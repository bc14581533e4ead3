"""The statistics of a comparison against SciPy's own tests, against worked examples, and as properties."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import integrate, stats

from duelist.compare.statistics import (
    area_under,
    detectable,
    labels_to_target,
    mean_interval,
    median_with_never,
    paired,
    value_at,
)

VALUES = st.floats(-100, 100).map(lambda x: round(x, 6))
CURVES = st.lists(st.tuples(st.integers(1, 40), VALUES), min_size=2, max_size=9).map(
    lambda steps: (np.cumsum([gap for gap, _ in steps]).astype(float), np.array([v for _, v in steps]))
)


@pytest.mark.parametrize(("seeds", "level"), [(3, 0.05), (8, 0.05), (8, 0.0125), (20, 0.05)])
def test_the_detectable_difference_is_found_in_eighty_percent_of_simulated_tests(seeds: int, level: float) -> None:
    difference = detectable(2.0, seeds, level)
    values_XS = np.random.default_rng(seeds).normal(difference, 2.0, size=(20_000, seeds))
    assert (stats.ttest_1samp(values_XS, 0, axis=1).pvalue < level).mean() == pytest.approx(0.8, abs=0.01)


@pytest.mark.parametrize("n", [2, 3, 8, 20])
def test_interval_and_p_are_scipy_s(n: int) -> None:
    rng = np.random.default_rng(n)
    a, b = rng.normal(0.3, 1.0, n), rng.normal(0.0, 2.0, n)
    found = mean_interval(a)
    expected = stats.ttest_1samp(a, 0.0).confidence_interval(0.95)
    assert found.half_width is not None and found.seeds == n
    assert (found.mean - found.half_width, found.mean + found.half_width) == pytest.approx(tuple(expected))
    test = stats.ttest_rel(a, b)
    pair = paired(a.tolist(), b.tolist())
    assert pair.p_value == pytest.approx(test.pvalue)
    low, high = test.confidence_interval(0.95)
    assert pair.difference.half_width == pytest.approx((high - low) / 2)
    assert pair.wins == sum(x > y for x, y in zip(a, b, strict=True)) and pair.ties == 0
    assert paired(a.tolist(), b.tolist(), higher_is_better=False).wins == n - pair.wins


def test_an_interval_worked_by_hand() -> None:
    """1, 2, 3, 4: s = sqrt(5/3), t(0.975, 3) = 3.182446; the half width is 3.182446 * 1.290994 / 2."""
    found = mean_interval([1.0, 2.0, 3.0, 4.0])
    assert (found.mean, found.half_width) == pytest.approx((2.5, 2.054260), abs=1e-6)


def test_what_has_no_spread() -> None:
    assert mean_interval([3.0]).half_width is None
    assert paired([3.0], [2.0]).p_value is None
    same = paired([1.0, 2.0, 3.0], [1.0, 2.0, 3.0])
    assert (same.p_value, same.wins, same.ties, same.difference.half_width) == (1.0, 0, 3, 0.0)
    shifted = paired([2.0, 3.0], [1.0, 2.0])
    assert (shifted.p_value, shifted.wins, shifted.difference.mean) == (0.0, 2, 1.0)


def test_coverage_of_the_interval() -> None:
    """Of 2,000 intervals of 8 normal draws, 95 % hold the mean: 1,900 ± 4 standard errors."""
    rng = np.random.default_rng(0)
    held = 0
    for _ in range(2000):
        found = mean_interval(rng.normal(5.0, 2.0, 8))
        assert found.half_width is not None
        held += abs(found.mean - 5.0) <= found.half_width
    assert abs(held - 1900) <= 4 * math.sqrt(2000 * 0.95 * 0.05)


def test_area_and_labels_worked_by_hand() -> None:
    labels, values = np.array([0.0, 10.0, 30.0]), np.array([0.0, 1.0, 2.0])
    assert area_under(labels, values, 0, 30) == pytest.approx((5 + 30) / 30)
    assert area_under(labels, values, 5, 20) == pytest.approx((5 * 0.75 + 10 * 1.25) / 15)
    assert area_under(labels, values, 20, 20) == pytest.approx(1.5)
    assert labels_to_target(labels, values, 1.5) == pytest.approx(20)
    assert labels_to_target(labels, values, 2.0) == 30
    assert labels_to_target(labels, values, 2.1) is None
    assert labels_to_target(labels, values, -1.0) == 0
    assert labels_to_target(labels, -values, -1.5, higher_is_better=False) == pytest.approx(20)
    # A curve that falls again: the first time counts.
    assert labels_to_target(labels, np.array([0.0, 3.0, 1.0]), 1.5) == pytest.approx(5)
    # The target computed by other sums of the same numbers is reached all the same.
    assert labels_to_target(labels, np.array([0.0, 0.1, 0.3]), 0.1 + 0.2) == 30


@given(curve=CURVES, ends=st.tuples(st.floats(0, 1), st.floats(0, 1)))
def test_the_area_is_the_integral(curve: tuple[np.ndarray, np.ndarray], ends: tuple[float, float]) -> None:
    labels, values = curve
    low, high = (float(labels[0] + e * (labels[-1] - labels[0])) for e in sorted(ends))
    if high - low < 1e-3:
        return
    inside = [float(x) for x in labels if low < x < high]
    expected, _ = integrate.quad(lambda x: np.interp(x, labels, values), low, high, points=inside or None, limit=200)
    assert area_under(labels, values, low, high) == pytest.approx(expected / (high - low), rel=1e-6, abs=1e-6)


@given(curve=CURVES, target=VALUES)
def test_the_target_is_reached_there_and_not_before(curve: tuple[np.ndarray, np.ndarray], target: float) -> None:
    labels, values = curve
    found = labels_to_target(labels, values, target)
    if found is None:
        assert (values < target).all()
        return
    assert value_at(labels, values, found) >= target - 1e-6
    before = np.linspace(labels[0], found, 200, endpoint=False) if found > labels[0] else np.array([])
    assert (np.interp(before, labels, values) < target + 1e-6).all()


def test_the_median_where_some_never_arrive() -> None:
    assert median_with_never([1.0, None, 3.0]) == 3.0
    assert median_with_never([1.0, 2.0, None]) == 2.0
    assert median_with_never([1.0, 2.0, 3.0, None]) == 2.5
    assert median_with_never([1.0, None]) is None
    assert median_with_never([None, None, 3.0]) is None
    assert median_with_never([]) is None
