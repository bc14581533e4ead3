"""Length-controlled win rate: the win rate that a judge would give if both outputs were equally long.

Reference: Dubois, Galambosi, Liang, Hashimoto, "Length-Controlled AlpacaEval: a simple way to debias automatic
           evaluators", 2024 (arXiv 2404.04475), Section 3, and the settings of their implementation (alpaca_eval,
           `length_controlled_v1`): L1 penalty, its strength by 5-fold cross-validation over 10 values.
Formula:   logit P(model wins on x) = θ + φ tanh(Δ / std(Δ)) + ψ γ_x, where Δ is the difference of the two lengths in
           characters and γ_x the difficulty of instruction x (the last term only where difficulties are known). The
           length-controlled win rate is the mean of σ(θ + ψ γ_x), which leaves out the length. (θ, φ, ψ) minimise
           C Σ w ℓ + |θ| + |φ| + |ψ|, ℓ the cross-entropy with the judge's probability; there is no intercept beside θ.
Cost:      some 10 Newton steps over R comparisons for each of 51 fits, and for each replicate of the bootstrap.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator

import numpy as np
import scipy
from numpy.typing import NDArray

from duelist.errors import NumericalError

Floats = NDArray[np.float64]

FOLDS = 5
# Strengths C of the data against the penalty, the weakest first, as in the published implementation.
STRENGTHS = np.logspace(-4, 4, 10)
MOST_STEPS = 100
CHUNK = 2**21  # numbers in one array of the batched fits


def length_controlled(
    preference_R: Floats,
    delta_length_R: Floats,
    prompt_R: NDArray[np.int64],
    difficulty_R: Floats | None = None,
    replicate_SR: Floats | None = None,
) -> tuple[float, Floats] | None:
    """Return the length-controlled win rate, and that of each replicate of a bootstrap.

    Args:
        preference_R: the judge's probability that the model's output wins, for R comparisons.
        delta_length_R: length of the model's output less that of the other, in characters.
        prompt_R: number of each comparison's prompt, from 0; the comparisons of a prompt share a fold.
        difficulty_R: γ_x of each comparison's instruction; None leaves the term out.
        replicate_SR: how often each of S replicates has drawn each comparison. They use the penalty that
            cross-validation chose for the data.

    Returns:
        The win rate, and S win rates; None with fewer prompts than folds.
    """
    fold_R = prompt_R % FOLDS
    if len(np.unique(prompt_R)) < FOLDS:
        return None
    weight_1R = np.ones((1, len(preference_R)))
    feature_1RX = _features(delta_length_R, difficulty_R, weight_1R)
    c = _strength(feature_1RX, preference_R, fold_R)
    coefficient_1X = fit(feature_1RX, preference_R, weight_1R, np.array([c]))
    found = float(_without_length(coefficient_1X, difficulty_R, weight_1R)[0])
    replicate_SR = np.empty((0, len(preference_R))) if replicate_SR is None else replicate_SR
    rates = [np.empty(0)]
    for weight_SR in _chunks(replicate_SR, feature_1RX.shape[2]):
        feature_SRX = _features(delta_length_R, difficulty_R, weight_SR)
        coefficient_SX = fit(feature_SRX, preference_R, weight_SR, np.full(len(weight_SR), c))
        rates.append(_without_length(coefficient_SX, difficulty_R, weight_SR))
    return found, np.concatenate(rates)


def fit(feature_SRX: Floats, preference_R: Floats, weight_SR: Floats, c_S: Floats) -> Floats:
    """Return the coefficients of S logistic regressions with an L1 penalty, `[S, X]`.

    Each minimises C Σ_r w_r ℓ(p_r, z_r) + Σ_x |coefficient_x|, z the features times the coefficients and ℓ the
    cross-entropy of σ(z) with p. Proximal Newton steps (Lee, Sun, Saunders, 2014): the quadratic model with the penalty
    is minimised exactly, and a step is halved until it gains enough.

    Args:
        feature_SRX: X features of R rows; its first dimension may be 1, for features that all fits share.
        preference_R: targets p from 0 to 1.
        weight_SR: weights w of the rows.
        c_S: C of each fit.

    Raises:
        NumericalError: if a fit has not converged after 100 steps.
    """
    s, x = len(c_S), feature_SRX.shape[2]
    weight_SR = weight_SR * c_S[:, None]
    beta_SX = np.zeros((s, x))

    def objective(beta_SX: Floats) -> tuple[Floats, Floats]:
        z_SR = np.einsum("srx,sx->sr", np.broadcast_to(feature_SRX, (s, *feature_SRX.shape[1:])), beta_SX)
        loss_S = (weight_SR * _cross_entropy(z_SR, preference_R)).sum(axis=1)
        return loss_S + np.abs(beta_SX).sum(axis=1), z_SR

    value_S, z_SR = objective(beta_SX)
    for _ in range(MOST_STEPS):
        p_SR = scipy.special.expit(z_SR)
        gradient_SX = _over_rows(weight_SR * (p_SR - preference_R), feature_SRX)
        hessian_SXX = np.stack(
            [_over_rows(weight_SR * p_SR * (1 - p_SR) * feature_SRX[:, :, i], feature_SRX) for i in range(x)], axis=1
        )
        step_SX = _penalised_newton_step(beta_SX, gradient_SX, hessian_SXX)
        gain_S = -(gradient_SX * step_SX).sum(axis=1)
        gain_S -= np.abs(beta_SX + step_SX).sum(axis=1) - np.abs(beta_SX).sum(axis=1)
        active_S = gain_S > 1e-11 * np.maximum(1, np.abs(value_S))
        if not active_S.any():
            return beta_SX
        size_S = active_S.astype(np.float64)
        for _ in range(MOST_STEPS):
            tried_SX = beta_SX + size_S[:, None] * step_SX
            tried_S, tried_SR = objective(tried_SX)
            short_S = tried_S > value_S - 0.01 * size_S * gain_S + 1e-14 * np.abs(value_S)
            if not short_S.any():
                break
            size_S = np.where(short_S, size_S / 2, size_S)
        beta_SX, value_S, z_SR = tried_SX, tried_S, tried_SR
    raise NumericalError(
        f"The length-controlled regression must converge within {MOST_STEPS} steps, but it did not: look for output "
        "lengths or difficulties of very different sizes."
    )


def _cross_entropy(z_SR: Floats, preference_R: Floats) -> Floats:
    # A sum of positive terms, so that small losses keep their digits.
    return np.asarray(preference_R * np.logaddexp(0, -z_SR) + (1 - preference_R) * np.logaddexp(0, z_SR))


def _over_rows(value_SR: Floats, feature_SRX: Floats) -> Floats:
    if len(feature_SRX) == 1:
        return np.asarray(value_SR @ feature_SRX[0])
    return np.asarray(np.einsum("sr,srx->sx", value_SR, feature_SRX))


def _penalised_newton_step(beta_SX: Floats, gradient_SX: Floats, hessian_SXX: Floats) -> Floats:
    """Minimise g·d + d·H d / 2 + |β + d|₁ over d, exactly: try every pattern of signs of β + d, 3ˣ of them."""
    s, x = beta_SX.shape
    size_S = np.trace(hessian_SXX, axis1=1, axis2=2)
    hessian_SXX = hessian_SXX + np.maximum(1e-9 * size_S, 1e-12)[:, None, None] * np.eye(x)
    best_S, best_SX = np.full(s, np.inf), np.zeros_like(beta_SX)
    for signs in itertools.product((-1.0, 0.0, 1.0), repeat=x):
        sign_X = np.array(signs)
        free = np.flatnonzero(sign_X)
        step_SX = -beta_SX  # a coefficient without a sign goes to 0
        if len(free):
            slope_SX = gradient_SX + np.einsum("sxy,sy->sx", hessian_SXX, np.where(sign_X == 0, step_SX, 0.0)) + sign_X
            solved_SX = np.linalg.solve(hessian_SXX[:, free[:, None], free], -slope_SX[:, free, None])[:, :, 0]
            step_SX[:, free] = solved_SX
        model_S = (gradient_SX * step_SX).sum(axis=1) + np.abs(beta_SX + step_SX).sum(axis=1)
        model_S += np.einsum("sx,sxy,sy->s", step_SX, hessian_SXX, step_SX) / 2
        better_S = model_S < best_S
        best_S, best_SX = np.where(better_S, model_S, best_S), np.where(better_S[:, None], step_SX, best_SX)
    return best_SX


def _features(delta_length_R: Floats, difficulty_R: Floats | None, weight_SR: Floats) -> Floats:
    """Return the features 1, tanh(Δ / std(Δ)) and, if known, γ; the deviation is each replicate's own."""
    total_S = weight_SR.sum(axis=1)
    mean_S = weight_SR @ delta_length_R / total_S
    square_SR = weight_SR * (delta_length_R - mean_S[:, None]) ** 2
    std_S = np.sqrt(square_SR.sum(axis=1) / np.maximum(total_S - 1, 1))
    std_S = np.where(std_S > 0, std_S, np.inf)  # equal differences cannot be told from θ
    columns = [np.ones_like(weight_SR), np.tanh(delta_length_R / std_S[:, None])]
    if difficulty_R is not None:
        columns.append(np.broadcast_to(difficulty_R, weight_SR.shape))
    return np.stack(columns, axis=2)


def _strength(feature_1RX: Floats, preference_R: Floats, fold_R: NDArray[np.int64]) -> float:
    """Return the C with the lowest log loss on held-out folds, the mean over folds; of equal ones the least."""
    loss_X = np.zeros(len(STRENGTHS))
    for fold in range(FOLDS):
        held_R = fold_R == fold
        weight_SR = np.broadcast_to((~held_R).astype(np.float64), (len(STRENGTHS), len(held_R)))
        coefficient_SX = fit(feature_1RX, preference_R, weight_SR, STRENGTHS)
        z_SR = coefficient_SX @ feature_1RX[0, held_R].T
        loss_X += _cross_entropy(z_SR, preference_R[held_R]).mean(axis=1)
    return float(STRENGTHS[loss_X.argmin()])


def _without_length(coefficient_SX: Floats, difficulty_R: Floats | None, weight_SR: Floats) -> Floats:
    z_SR = np.broadcast_to(coefficient_SX[:, :1], weight_SR.shape)
    if difficulty_R is not None:
        z_SR = z_SR + coefficient_SX[:, 2:] * difficulty_R
    return np.asarray((weight_SR * scipy.special.expit(z_SR)).sum(axis=1) / weight_SR.sum(axis=1))


def _chunks(replicate_SR: Floats, features: int) -> Iterator[Floats]:
    size = max(1, CHUNK // max(1, replicate_SR.shape[1] * features))
    for start in range(0, len(replicate_SR), size):
        yield replicate_SR[start : start + size]
