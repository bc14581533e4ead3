"""Calibration against a brute-force isotonic regression."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from duelist.people.calibration import FEWEST, calibrated


def min_max(seen: list[float], agrees: list[bool], at: float) -> float:
    """The isotonic regression at an observed value, by its min-max formula."""
    values = sorted(set(seen))

    def mean(low: float, high: float) -> float:
        inside = [a for s, a in zip(seen, agrees, strict=True) if low <= s <= high]
        return sum(inside) / len(inside)

    return max(min(mean(low, high) for high in values if high >= at) for low in values if low <= at)


@given(
    st.lists(st.tuples(st.sampled_from([0.5, 0.6, 0.7, 0.8, 0.9, 1.0]), st.booleans()), min_size=FEWEST, max_size=60)
)
def test_it_is_the_isotonic_regression(rows: list[tuple[float, bool]]) -> None:
    seen, agrees = [s for s, _ in rows], [a for _, a in rows]
    values = sorted(set(seen))
    found = calibrated(np.array(values), np.array(seen), np.array(agrees))
    np.testing.assert_allclose(found, [min_max(seen, agrees, v) for v in values], atol=1e-12)
    assert (np.diff(found) >= 0).all()


def test_between_and_beyond_the_observed_values() -> None:
    seen = np.array([0.6] * 15 + [0.8] * 15)
    agrees = np.array([False] * 15 + [True] * 15)
    found = calibrated(np.array([0.5, 0.6, 0.7, 0.8, 0.9]), seen, agrees)
    assert found.tolist() == [0, 0, 0, 1, 1]


def test_a_confidence_that_misleads_orders_nothing() -> None:
    seen = np.linspace(0.5, 1, 100)
    found = calibrated(np.linspace(0.5, 1, 7), seen, seen < 0.75)  # people agree less where the judge is surer
    np.testing.assert_allclose(found, 0.5)


def test_few_votes_leave_the_confidence_as_it_is() -> None:
    confidence = np.array([0.9, 0.6])
    few = np.ones(FEWEST - 1)
    assert calibrated(confidence, few, few > 0).tolist() == [0.9, 0.6]
