"""The suite's statistics against calculations written here, and against a bank of simulated runs."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest
from scipy import stats
from scipy.optimize import isotonic_regression

from benchmark_scripts import benchmark
from duelist.compare.statistics import Floats
from duelist.errors import DataError
from duelist.suite.statistics import (
    Effort,
    Interval,
    effort,
    effort_to_end,
    isotonic,
    share_of_gain,
    share_of_unit,
)
from duelist.suite.summary import ArmResult, judge, p_values, surely_gained

LABELS = np.arange(0.0, 129.0, 16.0)


def test_the_ends_of_the_share_are_where_the_paired_test_just_rejects() -> None:
    rng = np.random.default_rng(0)
    gain_S = rng.normal(1.0, 0.4, 20)
    difference_S = 0.3 * gain_S + rng.normal(0, 0.3, 20)
    found = share_of_gain(difference_S, gain_S)
    assert found is not None and found.low < found.value < found.high
    assert found.value == pytest.approx(difference_S.mean() / gain_S.mean())
    for end in (found.low, found.high):
        assert stats.ttest_1samp(difference_S - end * gain_S, 0).pvalue == pytest.approx(0.05)


def test_without_a_gain_there_is_no_share() -> None:
    assert share_of_gain(np.array([1.0, 2.0, 1.0]), np.array([1.0, -1.0, 0.1])) is None
    assert share_of_gain(np.array([1.0]), np.array([1.0])) is None
    assert share_of_unit(np.array([1.0]), 2.0) is None


def test_a_share_of_a_fixed_unit_is_the_t_interval() -> None:
    values = np.array([0.1, 0.4, -0.2, 0.3])
    found = share_of_unit(values, 2.0)
    low, high = stats.t.interval(0.95, 3, loc=values.mean(), scale=stats.sem(values))
    assert found is not None
    assert [found.low, found.value, found.high] == pytest.approx([low / 2, values.mean() / 2, high / 2])


def test_isotonic_curves_are_scipy_s() -> None:
    values = np.random.default_rng(6).normal(size=(30, 9)) + np.linspace(0, 1, 9)
    expected = np.array([isotonic_regression(row).x for row in values])
    assert isotonic(values) == pytest.approx(expected)


def test_effort_is_read_off_isotonic_curves() -> None:
    labels = np.array([0.0, 10.0, 20.0, 30.0])
    baseline = np.array([0.0, 1.0, 3.0, 2.0])  # pooled: 0, 1, 2.5, 2.5
    # A peak by chance does not count: 0, 3, 1, 3 is pooled to 0, 2, 2, 3.
    own = np.array([baseline, [0.0, 3.0, 1.0, 3.0], [0.0, 1.0, 2.0, 2.4], baseline])
    against = np.array([baseline, baseline, baseline, [1.0, 1.0, 0.5, 0.0]])  # the last gained nothing
    assert effort_to_end(labels, own, against) == pytest.approx([20.0, 25.0, np.inf, np.inf])


def test_the_bootstrap_covers_the_share_and_says_never_where_it_is_never() -> None:
    rng = np.random.default_rng(1)
    base_SE = LABELS / 128 + 0.05 * rng.normal(size=(20, 9))
    twice_SE = np.minimum(LABELS / 64, 1.5) + 0.05 * rng.normal(size=(20, 9))
    found = effort(LABELS, twice_SE, base_SE, np.random.default_rng(2))
    assert found.share.low < 0.5 < found.share.high and found.share.high - found.share.low < 0.2
    never = effort(LABELS, base_SE - 1.0, base_SE, np.random.default_rng(2))
    assert never.share.value == never.share.low == never.share.high == np.inf and never.p_half == 1.0
    fast = effort(LABELS, np.minimum(LABELS / 32, 1.5) + 0.01 * rng.normal(size=(20, 9)), base_SE, rng)
    assert fast.p_half == pytest.approx(1e-4) and fast.share.high < 0.3


def bank(rng: np.random.Generator, runs: int) -> np.ndarray:
    """Simulated learning curves like those of the embedded world: a world's own level and gain, and drifting noise."""
    level_S1, gain_S1 = rng.normal(4.0, 0.6, (runs, 1)), rng.gamma(8.0, 0.1, (runs, 1))
    noise_SE = np.cumsum(rng.normal(0, 0.06, (runs, 9)) * rng.gamma(2.0, 0.5, (runs, 1)), axis=1)
    return level_S1 + gain_S1 * (1 - np.exp(-LABELS / 60)) + noise_SE


def test_random_on_another_stream_is_rarely_called_different() -> None:
    """200 comparisons of two arms drawn from a bank of 200 runs each; at 5 %, more than 18 would be called a fault."""
    rng = np.random.default_rng(3)
    world = bank(rng, 200)
    one, other = (
        dict(enumerate(world + np.cumsum(rng.normal(0, 0.06, world.shape) * (LABELS > 16), axis=1))) for _ in range(2)
    )
    count = benchmark("null_comparisons").count_different
    rows = as_rows({"random": one, "random_again": other})
    assert all(count(rows, "j", 16, 200, 20, swap) <= 18 for swap in (False, True))
    # The same instrument sees a real difference, which the coin hides.
    better = {seed: curve + 0.3 * LABELS / 128 for seed, curve in other.items()}
    rows = as_rows({"random": one, "random_again": better})
    assert count(rows, "j", 16, 200, 20, False) > 150 and count(rows, "j", 16, 200, 20, True) <= 18


def test_a_world_is_judged_in_random_s_gain_after_the_first_batch() -> None:
    rng = np.random.default_rng(4)
    base_SE = bank(rng, 12)
    gain_S = base_SE[:, -1] - base_SE[:, 1]
    # From the first batch on, exactly 20 % of the gain of each seed above random.
    better_SE = base_SE + np.where(LABELS > 16, 0.2, 0.0) * gain_S[:, None]
    rows = {
        arm: {s: [{"labels": x, "j": y} for x, y in zip(LABELS, own, strict=True)] for s, own in enumerate(of_arm)}
        for arm, of_arm in (("random", base_SE), ("rule", better_SE))
    }
    found = judge(rows, "j", 16)
    (arm,) = found.arms
    assert found.unit == "own" and found.informative is None and not found.qualifies
    # The trapezoid between 16 and 32 labels rises from 0: 6.5 of 7 steps have the full height.
    assert arm.area is not None and arm.area.value == pytest.approx(0.2 * 6.5 / 7)
    assert arm.end is not None and arm.end.value == pytest.approx(0.2) and arm.never_worse == "passes"
    lower = {arm: {s: [r | {"j": -r["j"]} for r in own] for s, own in of.items()} for arm, of in rows.items()}
    assert judge(lower, "j:lower", 16).arms[0].area == arm.area


def as_rows(arms: dict[str, dict[int, Floats]]) -> dict[str, dict[int, list[dict[str, float]]]]:
    return {
        arm: {s: [{"labels": x, "j": y} for x, y in zip(LABELS, own, strict=True)] for s, own in of_arm.items()}
        for arm, of_arm in arms.items()
    }


def test_where_labels_teach_nothing_by_design_the_base_world_is_the_unit() -> None:
    rng = np.random.default_rng(5)
    rows = as_rows({arm: {s: rng.normal(size=9) * 0.1 for s in range(10)} for arm in ("random", "rule")})
    (arm,) = judge(rows, "j", 16, 2.0).arms
    assert arm.area is not None and arm.difference is not None and arm.never_worse == "passes"
    assert arm.area.low == pytest.approx(arm.difference.low / 2.0)
    for unknown in (judge(rows, "j", 16, None), judge(rows, "j", 16)):  # no unit, or one of no certain sign
        assert unknown.arms[0].area is None and unknown.arms[0].never_worse == "cannot be told"


@pytest.mark.parametrize(("constant", "verdict"), [(0.6, "passes"), (-1.0, "fails")])
def test_whether_a_rule_is_worse_needs_no_bounded_share(constant: float, verdict: str) -> None:
    """Random's gain differs so much between seeds that no ratio is bounded; the rule is random plus a constant."""
    gain_S = np.array([-2.0, 3.0, -1.5, 2.5, 4.0, -2.5, 3.5, 1.0])
    curves = {s: gain * (LABELS - 16) / 112 for s, gain in enumerate(gain_S)}
    own = {s: curve + constant for s, curve in curves.items()}
    (arm,) = judge(as_rows({"random": curves, "rule": own}), "j", 16).arms
    assert arm.area is None and arm.never_worse == verdict and arm.slack is not None
    value_S = constant + 0.1 * gain_S
    half = stats.t.ppf(0.975, 7) * value_S.std(ddof=1) / np.sqrt(8)
    assert (arm.slack.low, arm.slack.high) == pytest.approx((value_S.mean() - half, value_S.mean() + half))


def test_a_gain_that_is_not_sure_is_no_unit() -> None:
    rng = np.random.default_rng(6)
    flat = as_rows({"random": {s: rng.normal(size=9) for s in range(6)}})
    rising = as_rows({"random": {s: LABELS / 128 + 0.01 * rng.normal(size=9) for s in range(6)}})
    assert surely_gained(flat, "j", 16) is None
    assert surely_gained(rising, "j", 16) == pytest.approx(112 / 128, abs=0.05)
    assert surely_gained(rising, "j:lower", 16) is None  # it falls


@pytest.mark.parametrize(
    ("low", "high", "verdict"), [(0.01, 0.6, "passes"), (-0.1, 0.6, "cannot be told"), (-0.4, -0.01, "fails")]
)
def test_never_worse_is_told_by_the_interval(low: float, high: float, verdict: str) -> None:
    slack = Interval((low + high) / 2, low, high)
    spent = Effort(slack, 1.0)
    assert ArmResult("rule", 100, slack, slack, None, None, None, spent).never_worse == verdict
    assert ArmResult("rule", 100, slack, None, None, None, None, spent).never_worse == "cannot be told"  # no unit
    assert ArmResult("rule", 7, slack, slack, None, None, None, spent).never_worse is None  # too few seeds


def seconds_rows(speed_S: Sequence[float], seeds: Sequence[int]) -> dict[str, dict[int, list[dict[str, float]]]]:
    """Random and a rule on seeds whose people take different times; the rule takes half of random's time."""
    rng = np.random.default_rng(7)
    drawn = [(rng.normal(size=9) * 0.02, rng.normal(size=9) * 0.02) for _ in speed_S]
    return {
        arm: {
            seed: [
                {"labels": x, "annotation_seconds": speed * x * (0.5 if k else 1.0), "j": x / 128 + float(e)}
                for x, e in zip(LABELS.tolist(), noise[k], strict=True)
            ]
            for seed, speed, noise in zip(seeds, speed_S, drawn, strict=True)
        }
        for k, arm in enumerate(("random", "rule"))
    }


def test_no_seed_s_pace_decides_what_effort_is() -> None:
    """Seconds differ between seeds: the result is the same whichever seed comes first, and is about half."""
    speed_S = [20.0, 60.0, 45.0, 30.0, 55.0, 25.0, 40.0, 50.0]
    one = judge(seconds_rows(speed_S, range(8)), "j", 16, over="annotation_seconds")
    other = judge(seconds_rows(speed_S, range(8)[::-1]), "j", 16, over="annotation_seconds")
    assert one.whole == other.whole == pytest.approx(128 * np.mean(speed_S))
    (own,), (same,) = one.arms, other.arms
    assert own.area is not None and same.area is not None
    assert [own.area.low, own.area.high] == pytest.approx([same.area.low, same.area.high])
    assert own.effort.share.value == pytest.approx(same.effort.share.value) == pytest.approx(0.5, abs=0.05)


def test_a_baseline_that_was_evaluated_less_often_on_a_seed_is_refused() -> None:
    rows = as_rows({arm: {s: LABELS / 128 + 0.1 * s for s in range(8)} for arm in ("random", "rule")})
    rows["random"][3] = rows["random"][3][:4]
    with pytest.raises(DataError, match="seed 3 has 4 and seed 0 has 9"):
        judge(rows, "j", 16)


def test_one_seed_shows_nothing_and_without_a_gain_there_is_no_end_to_reach() -> None:
    rng = np.random.default_rng(8)
    few = judge(as_rows({"random": {0: LABELS / 128}, "rule": {0: np.minimum(LABELS / 32, 1.0)}}), "j", 16)
    flat = judge(as_rows({arm: {s: rng.normal(size=9) for s in range(9)} for arm in ("random", "rule")}), "j", 16)
    assert p_values({"few": few, "flat": flat}, ["rule"], ["few", "flat"]) == {}
    rising = {s: LABELS / 128 + 0.01 * rng.normal(size=9) for s in range(9)}
    found = judge(as_rows({"random": rising, "rule": rising}), "j", 16)
    assert set(p_values({"data": found}, ["rule"], ["data"])) == {("data", "rule")}


def test_a_reference_that_beats_random_says_so_where_the_gain_is_not_sure() -> None:
    rng = np.random.default_rng(9)
    random = {s: rng.normal(size=9) * 0.1 for s in range(12)}
    found = judge(as_rows({"random": random, "look_ahead": {s: own + 3.0 for s, own in random.items()}}), "j", 16)
    assert found.arms[0].area is None and found.informative is True
