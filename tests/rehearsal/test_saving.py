"""What a rule saves, on curves whose answer is known, and how often chance seems to save as much."""

from __future__ import annotations

from dataclasses import replace
from itertools import product
from typing import Any

import numpy as np
import pytest
from scipy import stats

import duelist.rehearsal.saving as saving
from duelist.errors import DataError
from duelist.rehearsal.rehearsal import METRICS, rehearsed
from duelist.rehearsal.saving import MetricSavings, Saving, _saving, savings
from duelist.rehearsal.words import verdict

LABELS_E = np.arange(10, 81, 10.0)


def bank(seed: int, seeds: int, speed: float = 1.0, noise: float = 0.01, level: float = 0.0) -> np.ndarray:
    """Accuracy curves that rise with the logarithm of the labels; a rule with speed 2 needs half of them."""
    rng = np.random.default_rng(seed)
    common = 0.02 * rng.normal(size=(seeds, 1))
    return 0.6 + level + 0.05 * np.log(speed * LABELS_E) + common + noise * rng.normal(size=(seeds, len(LABELS_E)))


def test_the_first_crossing_is_interpolated_on_monotone_curves() -> None:
    labels_E = np.array([10.0, 20, 40])
    assert _saving(labels_E, np.array([0.0, 1, 2]), np.array([0.0, 0.5, 1.5])) == 0.25
    assert _saving(labels_E, np.array([0.0, 1, 1]), np.array([0.0, 0.5, 1.5])) == 0.0
    assert _saving(labels_E, np.array([2.0, 2, 2]), np.array([0.0, 0.5, 1.5])) == 0.75
    # A lucky point that the curve does not keep is no crossing: 0.9 and 0.5 are made 0.7.
    assert _saving(labels_E, np.array([0.9, 0.5, 1.0]), np.array([0.0, 0.5, 0.8])) < 0.4


@pytest.mark.parametrize("sign", [1, -1])
def test_a_rule_that_needs_half_of_the_labels_saves_half(sign: int) -> None:
    (exact,) = savings(
        LABELS_E,
        {"random": sign * bank(0, 4, noise=0), "fast": sign * bank(0, 4, speed=2.0, noise=0)},
        "random",
        sign > 0,
        np.random.default_rng(0),
    )
    assert (exact.saving, exact.low, exact.high) == pytest.approx((0.5, 0.5, 0.5))
    curves = {"random": sign * bank(0, 16), "fast": sign * bank(1, 16, speed=2.0)}
    (found,) = savings(LABELS_E, curves, "random", sign > 0, np.random.default_rng(0))
    assert found.saving == pytest.approx(0.5, abs=0.12) and found.low < found.saving < found.high
    assert found.low > 0.2 and found.p_value < 0.01
    # The end by Student's interval, from SciPy.
    difference_S = curves["fast"][:, -1] - curves["random"][:, -1]
    test = stats.ttest_1samp(difference_S, 0)
    interval = test.confidence_interval(0.95)
    assert (found.final_low, found.final_high) == pytest.approx((interval.low, interval.high))
    assert found.final == pytest.approx(difference_S.mean()) and found.final_p_value == pytest.approx(test.pvalue)


def test_p_is_the_share_of_exchanges_within_seeds_that_save_as_much() -> None:
    """By enumeration, one exchange after the other, with an isotonic fit of its own."""
    base, rule = bank(0, 4, noise=0.03), bank(1, 4, speed=1.1, noise=0.03)

    def monotone(curve: np.ndarray) -> np.ndarray:
        n = len(curve)
        means = np.array([[curve[i : j + 1].mean() if j >= i else np.nan for j in range(n)] for i in range(n)])
        return np.array([max(min(means[i, j] for j in range(k, n)) for i in range(k + 1)) for k in range(n)])

    def saved(own: np.ndarray, other: np.ndarray) -> float:
        own, target = monotone(own.mean(axis=0)), monotone(other.mean(axis=0))[-1]
        fine = np.linspace(LABELS_E[0], LABELS_E[-1], 70_001)
        reached = np.interp(fine, LABELS_E, own) >= target - 1e-12
        return float(1 - fine[reached.argmax()] / LABELS_E[-1]) if reached.any() else 0.0

    every = []
    for exchanged in product([False, True], repeat=4):
        flip = np.array(exchanged)[:, None]
        every.append(saved(np.where(flip, base, rule), np.where(flip, rule, base)))
    expected = np.mean([x >= every[0] - 1e-4 for x in every])
    (found,) = savings(LABELS_E, {"random": base, "rule": rule}, "random", True, np.random.default_rng(0))
    assert found.p_value == pytest.approx(expected) and 1 / 16 < expected < 1


def test_equal_rules_are_said_to_save_in_five_percent_of_the_cases_at_most(monkeypatch: pytest.MonkeyPatch) -> None:
    """Random selection under two other names, whose studies share much within a seed."""
    monkeypatch.setattr(saving, "RESAMPLES", 10)
    said = []
    for s in range(60):
        common = 0.02 * np.random.default_rng(1000 + s).normal(size=(8, len(LABELS_E)))
        curves = {name: common + bank(3 * s + i, 8) for i, name in enumerate(("random", "one", "other"))}
        found = savings(LABELS_E, curves, "random", True, np.random.default_rng(s))
        said.append(min(x.p_value for x in found) <= 0.05)
    assert np.mean(said) <= 0.12  # 5 % and twice its standard error


def test_what_seeds_share_does_not_hide_a_rule() -> None:
    """Both studies of a seed have its easy or hard held-out prompts; their difference is clear in each of eight."""
    common = 0.3 * np.random.default_rng(0).normal(size=(8, 1))
    curves = {"random": common + bank(0, 8, noise=1e-4), "fast": common + bank(0, 8, speed=2.0, noise=2e-4)}
    (found,) = savings(LABELS_E, curves, "random", True, np.random.default_rng(0))
    assert found.p_value == 1 / 256 and found.final_p_value < 1e-6


def test_p_values_pay_for_the_number_of_rules(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(saving, "RESAMPLES", 10)
    base = bank(0, 8)
    arms = {f"rule{i}": bank(i + 1, 8, speed=2.0) for i in range(4)}
    alone = [
        savings(LABELS_E, {"random": base, n: v}, "random", True, np.random.default_rng(0))[0] for n, v in arms.items()
    ]
    together = savings(LABELS_E, {"random": base, **arms}, "random", True, np.random.default_rng(0))
    for name in ("p_value", "final_p_value"):
        raw, adjusted = ([getattr(s, name) for s in found] for found in (alone, together))
        assert (
            min(adjusted) == pytest.approx(min(1.0, 4 * min(raw))) and min(adjusted) < 1 and max(adjusted) >= max(raw)
        )
    assert all(x.detectable > y.detectable for x, y in zip(together, alone, strict=True))


def rows_of(values_SE: np.ndarray, metric: str) -> dict[int, list[dict[str, Any]]]:
    return {
        s: [{"labels": 0}, *({"labels": int(x), metric: v} for x, v in zip(LABELS_E, row, strict=True))]
        for s, row in enumerate(values_SE.tolist())
    }


def test_finished_studies_are_summarised_on_their_common_seeds() -> None:
    both: dict[str, Any] = {}
    for arm, speed in (("random", 1.0), ("fast", 3.0)):
        one = rows_of(bank(0, 9, speed=speed), "pair_accuracy")
        for s, of_seed in one.items():
            for row in of_seed[1:]:
                row["log_loss"] = 2.0 - row["pair_accuracy"]
            both.setdefault(arm, {})[s] = of_seed
    del both["fast"][8]
    found = rehearsed(both)
    assert found is not None and found.seeds == 8 and found.labels == 80
    assert [m.metric for m in found.metrics] == list(METRICS)
    assert [s.rule for s in found.metrics[0].savings] == ["fast"]
    assert found.metrics[0].savings[0].saving == pytest.approx(found.metrics[1].savings[0].saving)
    assert "fast: likely saves" in found.verdict[1]
    assert rehearsed({"random": {0: both["random"][0]}, "fast": {0: both["fast"][0]}}) is None


def test_a_rule_that_failed_is_left_out_and_named() -> None:
    both = {arm: rows_of(bank(0, 8, speed=x), "log_loss") for arm, x in (("random", 1.0), ("fast", 3.0))}
    for row in (row for of_arm in both.values() for of_seed in of_arm.values() for row in of_seed[1:]):
        row["pair_accuracy"] = 0.5
    found = rehearsed({**both, "broken": {}, "almost": {3: both["fast"][3]}})
    assert found is not None and found.seeds == 8 and found.left_out == ("broken", "almost")
    assert "broken, almost: left out" in " ".join(found.verdict)
    assert rehearsed({"random": {}, "fast": both["fast"]}) is None
    for row in both["fast"][2]:
        row.pop("log_loss", None)
    with pytest.raises(DataError, match="fast on seed 2 has measured none"):
        rehearsed(both)


NOTHING = Saving("v_opt", 0.2, 0.0, 0.5, 0.4, -0.001, -0.01, 0.01, 0.8, 0.02)
WORSE = Saving("entropy", 0.0, 0.0, 0.0, 1.0, 0.02, 0.01, 0.03, 0.01, 0.02)
BETTER = Saving("d_opt", 0.3, 0.1, 0.5, 0.02, -0.02, -0.03, -0.01, 0.01, 0.02)


def test_the_words_say_no_more_than_the_tests() -> None:
    found = MetricSavings("log_loss", False, 0.6, 0.5, (NOTHING, WORSE, BETTER))
    told = verdict(200, 8, found)
    assert "3 rules tried" in told[0] and "adjusted for the 3 rules" in told[0]
    assert told[1] == "d_opt: likely saves 30 % of the labels (95 % interval 10 to 50 %, p = 0.020)."
    assert "v_opt: cannot be told from random" in told[2]
    assert told[3] == "entropy: worse than random in the end, on these pairs (+0.0200, p = 0.010)."
    assert "control_fraction" in told[-1] and "All seeds replay the same pairs" in told[-1]
    chance = verdict(
        200, 8, replace(found, savings=(replace(BETTER, p_value=0.06), replace(WORSE, final_p_value=0.06)))
    )
    assert "cannot be told" in chance[1] and "cannot be told" in chance[2]
    higher = verdict(200, 8, replace(found, metric="pair_accuracy", higher_is_better=True, start=0.5, end=0.6))
    assert "worse" not in higher[3]
    useless = verdict(200, 8, replace(found, start=0.5, end=0.6, savings=(NOTHING,)))
    assert "one rule tried" in useless[0] and "adjusted" not in useless[0]
    assert "a saving has no meaning" in useless[1] and len(useless) == 3


@pytest.mark.parametrize("seeds", [2, 3, 7])
def test_few_seeds_claim_nothing(seeds: int) -> None:
    found = MetricSavings("log_loss", False, 0.6, 0.5, (WORSE, BETTER))
    told = verdict(200, seeds, found)
    assert "cannot be told from fewer than 8 seeds" in told[0] and "Raise --seeds" in told[0]
    assert not any(word in " ".join(told) for word in ("likely", "worse", "d_opt"))
