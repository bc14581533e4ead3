"""The prior's precision by the marginal likelihood of the labels so far, under Laplace's approximation.

Reference: MacKay, "The evidence framework applied to classification networks", Neural Computation 4, 1992; Rasmussen,
           Williams, "Gaussian Processes for Machine Learning", 2006, Section 3.4.
Formula:   logit of a label = θᵀu, θ ~ N(0, I/λ): the margin is linear in the weights' change from the model at which
           all margins are 0 (DPO's reference). With θ̂ the mode and H = λI + Σ n p(1 − p)·uuᵀ at it,

               log p(labels | λ) ≈ Σ [n_a log p + n_b log(1 − p)] − λ/2 |θ̂|² + D/2 log λ − ½ logdet H.              (1)

           λ maximises (1) − (log λ/λ₀)²/(2 s²): a weak log-normal prior at the recipe's own λ₀, which decides while
           the labels say nothing.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import scipy
from numpy.typing import NDArray

from duelist.acquisition.numerics.factors import factored
from duelist.acquisition.numerics.optimal_design import log_determinant
from duelist.errors import NumericalError

Floats = NDArray[np.float64]

# s: one standard deviation of the prior is a factor of ten.
PRIOR_DEVIATION = float(np.log(10.0))
RANGE = 4 * PRIOR_DEVIATION  # search range of log λ/λ₀, on both sides
GRID = 17  # values on it that are tried, before the best is refined
STEPS = 100  # Newton steps at most; the loss is convex, and five to ten are usual


def fit_precision(rows_PD: Floats, votes_P2: NDArray[Any], centre: float) -> float:
    """Return the precision λ that the labels make most likely.

    Args:
        rows_PD: u of P pairs: the gradient of the label's logit.
        votes_P2: number of votes for a and for b, or their weights; pairs without votes do not count.
        centre: λ₀, positive; the result without labels.
    """
    counts = votes_P2.sum(axis=1) > 0
    if not counts.any() or not np.square(rows_PD[counts]).sum() > 0:
        return centre
    coordinates, votes = reduced(rows_PD[counts]), votes_P2[counts]
    mode = np.zeros(coordinates.shape[1])

    def loss(log_ratio: float) -> float:
        nonlocal mode  # the last mode is a good start for the next λ
        found, mode = log_evidence(coordinates, votes, centre * float(np.exp(log_ratio)), mode)
        return -found + log_ratio**2 / (2 * PRIOR_DEVIATION**2)

    grid = np.linspace(RANGE, -RANGE, GRID)  # from the strongest prior, where the mode is near 0
    best = int(np.argmin([loss(x) for x in grid]))
    bounds = (grid[min(best + 1, GRID - 1)], grid[max(best - 1, 0)])
    found = scipy.optimize.minimize_scalar(loss, bounds=bounds, method="bounded", options={"xatol": 1e-4})
    return centre * float(np.exp(found.x))


def log_evidence(
    rows_PD: Floats, votes_P2: NDArray[Any], precision: float, start_D: Floats | None = None
) -> tuple[float, Floats]:
    """Return equation (1), in nats, and the mode θ̂.

    Args:
        rows_PD: u.
        votes_P2: number of votes for a and for b.
        precision: λ, positive.
        start_D: where the search for the mode begins; 0 by default.

    Raises:
        NumericalError: if the mode is not found.
    """
    wins_P, total_P = votes_P2[:, 0].astype(np.float64), votes_P2.sum(axis=1).astype(np.float64)
    mode_D = np.zeros(rows_PD.shape[1]) if start_D is None else start_D

    def objective(theta_D: Floats) -> float:
        logit_P = rows_PD @ theta_D
        surprise = wins_P @ np.logaddexp(0.0, -logit_P) + (total_P - wins_P) @ np.logaddexp(0.0, logit_P)
        return float(surprise + 0.5 * precision * theta_D @ theta_D)

    def factor(theta_D: Floats) -> tuple[Floats, Floats]:
        """Return the slope of the objective, and the Cholesky factor of H."""
        p_P = scipy.special.expit(rows_PD @ theta_D)
        slope_D = rows_PD.T @ (total_P * p_P - wins_P) + precision * theta_D
        scaled_PD = rows_PD * np.sqrt(total_P * p_P * (1.0 - p_P))[:, None]
        return slope_D, factored(scaled_PD.T @ scaled_PD + precision * np.eye(len(theta_D)))

    value = objective(mode_D)
    for _ in range(STEPS):
        slope_D, lower_DD = factor(mode_D)
        step_D = scipy.linalg.cho_solve((lower_DD, True), slope_D)
        decrement = float(slope_D @ step_D)
        if decrement < 1e-8 * (1.0 + abs(value)):  # quadratic convergence: one more step is exact to rounding
            mode_D = mode_D - step_D
            determinant = log_determinant(factor(mode_D)[1])
            evidence = -objective(mode_D) + 0.5 * len(mode_D) * np.log(precision) - 0.5 * determinant
            return float(evidence), mode_D
        size = 1.0
        while (after := objective(mode_D - size * step_D)) > value - 0.25 * size * decrement and size > 1e-8:
            size /= 2
        mode_D, value = mode_D - size * step_D, after
    raise NumericalError(
        f"The mode of the labels' posterior must be found in {STEPS} Newton steps, but was not at λ = {precision:.3g}: "
        "look for features of very different sizes, or set `lambda_fit` to none."
    )


def reduced(rows_PD: Floats) -> Floats:
    """Return the rows in coordinates of the space that they span, at most P: (1) does not change."""
    rows_PD = np.asarray(rows_PD, np.float64)
    if len(rows_PD) >= rows_PD.shape[1]:
        return rows_PD
    return np.asarray(np.linalg.qr(rows_PD.T, mode="r")).T
