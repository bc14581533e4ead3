"""Certified thresholds against exact binomial tails by summation, and their false certifications by enumeration."""

from __future__ import annotations

from fractions import Fraction
from itertools import product
from math import comb

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from duelist.errors import DataError
from duelist.people.certification import STEPS, audits_needed, certify, error_bound, passes, thresholds
from tiers import first


def tail(errors: int, audits: int, p: Fraction) -> Fraction:
    """P(Binomial(audits, p) <= errors), exactly."""
    return sum((comb(audits, k) * p**k * (1 - p) ** (audits - k) for k in range(errors + 1)), Fraction(0))


@pytest.mark.parametrize("denominator", [4, 10, 20])
@pytest.mark.parametrize("one_in", [20, 180])
def test_passing_is_the_exact_tail(denominator: int, one_in: int) -> None:
    for audits in range(1, 130, 4):
        for errors in range(min(audits, 12) + 1):
            exact = tail(errors, audits, Fraction(1, denominator)) <= Fraction(1, one_in)
            assert passes(errors, audits, 1 / denominator, 1 / one_in) == exact


@given(st.integers(1, 300), st.data(), st.floats(0.001, 0.2))
def test_the_bound_is_where_the_tail_is_alpha(audits: int, data: st.DataObject, alpha: float) -> None:
    errors = data.draw(st.integers(0, min(audits, 20)))
    bound = error_bound(errors, audits, alpha)
    if errors == audits:
        assert bound == 1
        return
    exact = float(tail(errors, audits, Fraction(bound).limit_denominator(10**12)))
    assert exact == pytest.approx(alpha, rel=1e-5)
    assert passes(errors, audits, min(bound * 1.001, 0.999999), alpha)
    assert not passes(errors, audits, bound * 0.999, alpha)


def test_zero_errors_in_59_certify_five_per_cent() -> None:
    assert audits_needed(0.05, 0.05) == 59
    assert not passes(0, 58, 0.05, 0.05) and passes(0, 59, 0.05, 0.05)
    assert error_bound(0, 0, 0.05) == 1 and not passes(0, 0, 0.05, 0.05)


@given(st.sampled_from([0.02, 0.05, 0.1, 0.3, 0.45]), st.sampled_from([0.05, 0.005, 1e-4]), st.integers(0, 5))
def test_the_needed_number_is_the_least(max_error: float, alpha: float, errors: int) -> None:
    needed = audits_needed(max_error, alpha, errors)
    p, a = Fraction(max_error), Fraction(alpha)
    assert tail(errors, needed, p) <= a
    assert needed == 1 or tail(errors, needed - 1, p) > a


@pytest.mark.parametrize("value", [0.0, 1.0, -0.1, float("nan")])
def test_errors_outside_the_range_are_refused(value: float) -> None:
    with pytest.raises(DataError, match="between 0 and 1"):
        audits_needed(value, 0.05)
    with pytest.raises(DataError, match="between 0 and 1"):
        audits_needed(0.05, value)


def by_hand(scores: list[float], errors: list[bool], max_error: float, alpha: float) -> float | None:
    """The laxest certified threshold, as in the definition."""
    found = None
    for threshold in thresholds(np.array(scores), max_error, alpha):
        above = [e for s, e in zip(scores, errors, strict=True) if s >= threshold]
        if tail(sum(above), len(above), Fraction(max_error)) > Fraction(alpha):
            break
        found = threshold
    return found


@given(
    st.lists(st.tuples(st.sampled_from([0.5, 0.6, 0.7, 0.8, 0.9]), st.booleans()), max_size=40),
    st.sampled_from([0.2, 0.45]),
)
def test_certify_follows_the_sequence(rows: list[tuple[float, bool]], max_error: float) -> None:
    scores, errors = [s for s, _ in rows], [e for _, e in rows]
    found = certify(np.array(scores), np.array(errors, bool), max_error, 0.1)
    assert found.threshold == by_hand(scores, errors, max_error, 0.1)
    if found.threshold is not None:
        above = [e for s, e in rows if s >= found.threshold]
        assert (found.audits, found.errors) == (len(above), sum(above))
        assert found.bound <= max_error


@given(st.lists(st.floats(0.5, 1), max_size=200), st.sampled_from([0.1, 0.4]))
def test_thresholds_leave_enough_audits_and_fall(scores: list[float], max_error: float) -> None:
    score_N = np.array(scores)
    found = thresholds(score_N, max_error, 0.05)
    needed = audits_needed(max_error, 0.05)
    assert (found == []) == (len(scores) < needed)
    assert found == sorted(set(found), reverse=True) and len(found) <= STEPS
    assert all((score_N >= t).sum() >= needed for t in found)
    assert found == [] or found[-1] == score_N.min()


def test_one_error_among_many_does_not_stop_the_sequence() -> None:
    score_N = np.linspace(1, 0.5, 400)
    error_N = np.zeros(400, bool)
    error_N[0] = True  # where the judge was surest
    assert certify(score_N, error_N, 0.05, 0.05).threshold == 0.5


# The probability that a bad threshold is certified, over all outcomes of the votes.


def false_certification(scores: list[float], error: list[float], max_error: float, alpha: float) -> float:
    """The exact probability that a threshold is certified above which the mean error exceeds the one allowed."""
    score_N, error_N = np.array(scores), np.array(error)
    total = 0.0
    for outcome in product((False, True), repeat=len(scores)):
        wrong_N = np.array(outcome)
        found = certify(score_N, wrong_N, max_error, alpha)
        if found.threshold is not None and error_N[score_N >= found.threshold].mean() > max_error:
            total += float(np.prod(np.where(wrong_N, error_N, 1 - error_N)))
    return total


CASES = {
    "one threshold": ([0.9] * 9, [0.301] * 9),
    "flat": ([1 - i / 20 for i in range(9)], [0.301] * 9),
    "worse where less sure": ([1 - i / 20 for i in range(10)], [0.05] * 5 + [0.56] * 5),
    "worst where surest": ([1 - i / 20 for i in range(9)], [0.9] * 3 + [0.1] * 6),
    "two scores": ([0.9] * 6 + [0.6] * 4, [0.05] * 6 + [0.68] * 4),
    "unequal, one threshold": ([0.9] * 9, [0.02] * 4 + [0.525] * 5),
}


@pytest.mark.parametrize("name", list(CASES))
@pytest.mark.parametrize("alpha", first(1, [0.05, 0.15]))
def test_bad_thresholds_are_certified_with_the_allowed_probability(name: str, alpha: float) -> None:
    scores, error = CASES[name]
    found = false_certification(scores, error, 0.3, alpha)
    assert found <= alpha
    if name == "one threshold":
        assert found > 0, "the enumeration reaches false certifications"
