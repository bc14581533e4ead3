"""What a reward model is measured by, against SciPy and hand computations."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import spearmanr

from duelist.errors import DataError
from duelist.evaluation.metrics import measure
from duelist.evaluation.reward_model import rankings, share_positive, spearman


def test_ranking_by_hand() -> None:
    score = np.array([3.0, 1.0, 2.0, 0.0, 5.0, 7.0])
    truth = np.array([0.3, 0.2, 0.1, 1.0, 1.0, 0.0])
    found = measure("reward model", rankings([[0, 1, 2], [3, 4, 5]], score, truth))
    # Ranks 3 1 2 against 3 2 1: ρ = 1 − 6·(0 + 1 + 1)/24 = ½. Ranks 1 2 3 against 2½ 2½ 1: ρ = −1.5/√(2·1.5) = −√3/2.
    assert found["spearman_error"] == pytest.approx(1 - (0.5 - np.sqrt(3) / 2) / 2)
    assert found["best_of_n_reward"] == pytest.approx((0.3 + 0.0) / 2)
    # Of three pairs, two in order; of the two that differ, none.
    assert found["pair_accuracy"] == pytest.approx((2 / 3 + 0) / 2)


def test_spearman_equals_scipys() -> None:
    rng = np.random.default_rng(0)
    for _ in range(20):
        x, y = rng.integers(0, 5, size=(2, 12)).astype(float)
        assert spearman(x, y) == pytest.approx(spearmanr(x, y).statistic)


def test_scores_that_are_all_equal_rank_nothing() -> None:
    found = measure("reward model", rankings([[0, 1], [2]], np.zeros(3), np.array([1.0, 2.0, 9.0])))
    assert found == {"spearman_error": 1.0, "pair_accuracy": 0.5, "best_of_n_reward": (1.5 + 9) / 2}
    with pytest.raises(DataError, match="differ in true reward"):
        rankings([[0], [1]], np.zeros(2), np.arange(2.0))


def test_calibration_by_hand() -> None:
    probability = np.array([0.9, 0.96, 0.2, 0.5])
    right = share_positive(np.array([1.0, 2.0, -1.0, 0.0]))
    found = measure("reward model", {"probability_N": probability, "right_N": right})
    assert found["pair_accuracy"] == pytest.approx(2.5 / 4)
    assert found["log_loss"] == pytest.approx(-np.log([0.9, 0.96, 0.2, 0.5]).mean())
    assert found["brier"] == pytest.approx((0.01 + 0.0016 + 0.64 + 0.25) / 4)
    # Bins of width 0.05 from ½ on: {0.5}, {0.8: missed}, {0.9}, {0.96}.
    assert found["ece"] == pytest.approx((0 + 0.8 + 0.1 + 0.04) / 4)


def test_longer_wins() -> None:
    longer = share_positive(np.array([3, 2, 2]) - np.array([1, 2, 5]))
    assert measure("reward model", {"longer_N": longer}) == {"pair_accuracy": None, "longer_wins": 0.5}
