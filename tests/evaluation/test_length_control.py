"""The length-controlled win rate, against scikit-learn's regression, a general optimiser and planted effects."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
import pytest
from scipy.optimize import minimize
from scipy.special import expit, log_expit

from duelist.evaluation.length_control import FOLDS, STRENGTHS, fit, length_controlled

Floats = np.ndarray[Any, np.dtype[np.float64]]


def comparisons(rows: int, theta: float, phi: float, psi: float, seed: int) -> tuple[Floats, Floats, Floats]:
    """The planted regression: a judge's probabilities, length differences and difficulties."""
    rng = np.random.default_rng(seed)
    delta_R, difficulty_R = rng.normal(150, 400, rows).round(), rng.normal(size=rows)
    p_R = expit(theta + phi * np.tanh(delta_R / delta_R.std(ddof=1)) + psi * difficulty_R)
    return p_R, delta_R, difficulty_R


def features(delta_R: Floats, difficulty_R: Floats) -> Floats:
    return np.stack([np.ones_like(delta_R), np.tanh(delta_R / delta_R.std(ddof=1)), difficulty_R], axis=1)


@pytest.mark.parametrize("c", [1e-4, 1e-2, 1.0, 1e4])
def test_a_fit_minimises_the_penalised_loss(c: float) -> None:
    p_R, delta_R, difficulty_R = comparisons(60, 0.4, 1.5, -0.7, seed=0)
    rng = np.random.default_rng(1)
    p_R, weight_R = rng.permutation(p_R) * 0.5 + p_R * 0.5, rng.integers(0, 3, 60).astype(float)
    x_RX = features(delta_R, difficulty_R)

    def objective(both: Floats) -> float:  # β = β⁺ − β⁻ makes the penalty smooth
        z_R = x_RX @ (both[:3] - both[3:])
        return float(-c * weight_R @ (p_R * log_expit(z_R) + (1 - p_R) * log_expit(-z_R)) + both.sum())

    best = minimize(
        objective, np.full(6, 0.1), bounds=[(0, None)] * 6, options={"ftol": 1e-15, "gtol": 1e-10, "maxiter": 10_000}
    )
    found = fit(x_RX[None], p_R, weight_R[None], np.array([c]))[0]
    value = objective(np.concatenate([np.maximum(found, 0), np.maximum(-found, 0)]))
    assert value <= best.fun * (1 + 1e-12)
    np.testing.assert_allclose(found, best.x[:3] - best.x[3:], atol=2e-3)


def test_fits_in_one_batch_are_the_fits_alone() -> None:
    p_R, delta_R, difficulty_R = comparisons(40, -0.3, 2.0, 0.5, seed=2)
    rng = np.random.default_rng(3)
    weight_SR, c_S = rng.integers(0, 3, (5, 40)).astype(float), np.array([1e-3, 0.1, 1.0, 10.0, 1e4])
    x_SRX = np.stack([features(delta_R * s, difficulty_R + s) for s in range(1, 6)])
    together = fit(x_SRX, p_R, weight_SR, c_S)
    for s in range(5):
        alone = fit(x_SRX[s : s + 1], p_R, weight_SR[s : s + 1], c_S[s : s + 1])
        np.testing.assert_allclose(together[s], alone[0], atol=1e-6)


def test_the_penalty_is_the_published_one() -> None:
    """scikit-learn's LogisticRegression on the doubled rows, cross-validated by hand, as AlpacaEval does it."""
    from sklearn.linear_model import LogisticRegression
    from sklearn.model_selection import GroupKFold

    p_R, delta_R, difficulty_R = comparisons(203, 0.3, 0.8, 0.2, seed=4)
    p_R = (np.random.default_rng(5).random(203) < p_R).astype(float) * 0.9 + 0.05
    x_RX = features(delta_R, difficulty_R)

    def fitted(rows: Any, c: float) -> Any:
        model = LogisticRegression(
            penalty="l1", solver="liblinear", C=c, fit_intercept=False, tol=1e-8, max_iter=10_000, random_state=0
        )
        both, which = np.concatenate([x_RX[rows]] * 2), np.repeat([1, 0], len(rows))
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # the name of the penalty changes with the version
            return model.fit(both, which, sample_weight=np.concatenate([p_R[rows], 1 - p_R[rows]]))

    loss = np.zeros(len(STRENGTHS))
    for train, held in GroupKFold(FOLDS).split(x_RX, groups=np.arange(203)):
        for i, c in enumerate(STRENGTHS):
            q_R = fitted(train, c).predict_proba(x_RX[held])[:, 1]
            loss[i] -= np.mean(p_R[held] * np.log(q_R) + (1 - p_R[held]) * np.log(1 - q_R))
    coefficients = fitted(np.arange(203), STRENGTHS[loss.argmin()]).coef_[0]
    expected = expit(coefficients[0] + coefficients[2] * difficulty_R).mean()
    found = length_controlled(p_R, delta_R, np.arange(203), difficulty_R)
    assert found is not None and found[0] == pytest.approx(expected, abs=1e-5)


@pytest.mark.parametrize("theta", [-1.0, 0.0, 0.7])
def test_planted_effects_are_recovered(theta: float) -> None:
    p_R, delta_R, difficulty_R = comparisons(2000, theta, 1.2, 0.8, seed=6)
    verdict_R = (np.random.default_rng(7).random(2000) < p_R).astype(float)
    rng = np.random.default_rng(8)
    replicate_SR = rng.multinomial(2000, np.full(2000, 1 / 2000), size=200).astype(float)
    found = length_controlled(verdict_R, delta_R, np.arange(2000), difficulty_R, replicate_SR)
    assert found is not None
    truth = expit(theta + 0.8 * difficulty_R).mean()
    low, high = np.quantile(found[1], [0.025, 0.975])
    assert low < truth < high and high - low < 0.06
    assert abs(verdict_R.mean() - truth) > 0.03  # the plain win rate is drawn by the lengths


def test_a_judge_that_only_likes_length_gives_one_half() -> None:
    rng = np.random.default_rng(9)
    delta_R = rng.normal(250, 300, 600).round()
    preference_R = (rng.random(600) < expit(2 * np.tanh(delta_R / 300))).astype(float)
    rows = np.arange(600)
    replicate_SR = rng.multinomial(600, np.full(600, 1 / 600), size=300).astype(float)
    found = length_controlled(preference_R, delta_R, rows, None, replicate_SR)
    assert preference_R.mean() > 0.65
    assert found is not None and found[0] == pytest.approx(0.5, abs=0.06)
    low, high = np.quantile(found[1], [0.025, 0.975])
    assert low < 0.5 < high


def test_equal_outputs_give_exactly_one_half() -> None:
    found = length_controlled(np.full(10, 0.5), np.zeros(10), np.arange(10), None, np.ones((3, 10)))
    assert found is not None and found[0] == 0.5 and found[1].tolist() == [0.5] * 3


def test_a_judge_that_is_never_in_doubt_can_be_fitted() -> None:
    delta_R = np.random.default_rng(10).normal(0, 9, 50)
    found = length_controlled(np.ones(50), delta_R, np.arange(50))
    assert found is not None and 0.99 < found[0] <= 1


def test_fewer_prompts_than_folds_have_no_length_controlled_rate() -> None:
    prompt_R = np.repeat(np.arange(FOLDS - 1), 10)
    assert length_controlled(np.full(40, 0.5), np.arange(40.0), prompt_R) is None


def test_a_replicate_is_the_fit_of_its_rows_written_out() -> None:
    p_R, delta_R, difficulty_R = comparisons(30, 0.5, 1.0, 0.3, seed=11)
    weight_R = np.random.default_rng(12).integers(0, 3, 30)
    found = length_controlled(p_R, delta_R, np.arange(30), difficulty_R, weight_R[None].astype(float))
    assert found is not None
    rows = np.repeat(np.arange(30), weight_R)
    value = min(
        abs(expit(b[0] + b[2] * difficulty_R[rows]).mean() - found[1][0])
        for c in STRENGTHS
        for b in fit(
            features(delta_R[rows], difficulty_R[rows])[None], p_R[rows], np.ones((1, len(rows))), np.array([c])
        )
    )
    assert value < 1e-6  # with the strength of one of the grid
