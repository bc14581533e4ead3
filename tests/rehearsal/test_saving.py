"""What a rule saves, on curves whose answer is known, and what chance alone seems to save."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import duelist.rehearsal.saving as saving
from duelist.rehearsal.rehearsal import METRICS, rehearsed
from duelist.rehearsal.saving import _saving, savings
from duelist.rehearsal.words import verdict

LABELS_E = np.arange(10, 81, 10.0)


def bank(seed: int, seeds: int, speed: float = 1.0, noise: float = 0.01, level: float = 0.0) -> np.ndarray:
    """Accuracy curves that rise with the logarithm of the labels; a rule with speed 2 needs half of them."""
    rng = np.random.default_rng(seed)
    common = 0.02 * rng.normal(size=(seeds, 1))
    return 0.6 + level + 0.05 * np.log(speed * LABELS_E) + common + noise * rng.normal(size=(seeds, len(LABELS_E)))


def test_the_first_crossing_is_interpolated_on_monotone_curves() -> None:
    assert _saving(np.array([10.0, 20, 40]), np.array([0.0, 1, 2]), np.array([0.0, 0.5, 1.5])) == (0.25, True)
    assert _saving(np.array([10.0, 20, 40]), np.array([0.0, 1, 1]), np.array([0.0, 0.5, 1.5])) == (0.0, False)
    assert _saving(np.array([10.0, 20, 40]), np.array([2.0, 2, 2]), np.array([0.0, 0.5, 1.5])) == (0.75, True)
    # A lucky point that the curve does not keep is no crossing: 0.9 and 0.5 are made 0.7.
    assert _saving(np.array([10.0, 20, 40]), np.array([0.9, 0.5, 1.0]), np.array([0.0, 0.5, 0.8]))[0] < 0.4


@pytest.mark.parametrize("sign", [1, -1])
def test_a_rule_that_needs_half_of_the_labels_saves_half(sign: int) -> None:
    (exact,), _ = savings(
        LABELS_E,
        {"random": sign * bank(0, 4, noise=0), "fast": sign * bank(0, 4, speed=2.0, noise=0)},
        "random",
        sign > 0,
        np.random.default_rng(0),
    )
    assert (exact.saving, exact.low, exact.high) == pytest.approx((0.5, 0.5, 0.5))
    curves = {"random": sign * bank(0, 16), "fast": sign * bank(1, 16, speed=2.0)}
    (found,), chance = savings(LABELS_E, curves, "random", sign > 0, np.random.default_rng(0))
    assert found.saving == pytest.approx(0.5, abs=0.12) and found.low < found.saving < found.high
    assert found.low > 0.2 and chance < 0.6 and found.reached == 1
    assert sign * found.final_low > 0.01 and found.final_low < found.final < found.final_high
    difference_S = curves["fast"][:, -1] - curves["random"][:, -1]
    assert found.detectable == pytest.approx(2.8 * difference_S.std(ddof=1) / 4)


def test_chance_is_as_large_as_what_equal_rules_seem_to_save(monkeypatch: pytest.MonkeyPatch) -> None:
    """Random selection under another name: its saving exceeds what chance explains in about 5 % of the cases."""
    monkeypatch.setattr(saving, "RESAMPLES", 100)
    exceeded = []
    for s in range(40):
        curves = {"random": bank(2 * s, 8), "other": bank(2 * s + 1, 8)}
        (found,), chance = savings(LABELS_E, curves, "random", True, np.random.default_rng(s))
        exceeded.append(found.saving > chance)
    assert np.mean(exceeded) <= 0.2


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


def test_the_words_say_no_more_than_the_intervals() -> None:
    from duelist.rehearsal.saving import MetricSavings, Saving

    nothing = Saving("v_opt", 0.2, 0.0, 0.5, 0.9, -0.001, -0.01, 0.01, 0.02)
    worse = Saving("entropy", 0.0, 0.0, 0.0, 0.0, 0.02, 0.01, 0.03, 0.02)
    found = MetricSavings("log_loss", 0.6, 0.5, (nothing, worse), 0.15)
    told = verdict(200, 8, found, higher=False)
    assert "up to 15 %" in told[0] and "v_opt: cannot be told from random" in told[1]
    assert "entropy: worse than random in the end (+0.0200)" in told[2] and "control_fraction" in told[-1]
    useless = MetricSavings("log_loss", 0.5, 0.6, (nothing,), 0.15)
    assert "no rule can save anything" in verdict(200, 8, useless, higher=False)[1]
