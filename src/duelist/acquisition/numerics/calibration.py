"""How far the model's margins can be trusted: a temperature fitted by maximum likelihood on the labels so far.

Reference: Guo et al., "On Calibration of Modern Neural Networks", ICML 2017, arXiv 1706.04599 (temperature scaling).
Formula:   minimise over τ   −Σ_i [n_a log σ(ρ_i/τ) + n_b log σ(−ρ_i/τ)] + (log τ)² / (2 s²).

ρ_i must be the margin from before anything was learned from pair i's labels: a model is sure of what it was trained on,
and margins of that kind would call every margin trustworthy. That pairs were chosen by their margins does no harm: the
choice looked at ρ and not at the label, so the likelihood given ρ is what it would be for any other choice.

The last term is a weak log-normal prior at τ = 1. It decides where labels say nothing: there are none, or all margins
are zero, as they are while the policy is its own reference.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize_scalar

# s: one standard deviation of the prior is a factor e, so that some ten informative labels outweigh it.
PRIOR_DEVIATION = 1.0
# log τ is looked for between −RANGE and RANGE: a factor of a thousand either way.
RANGE = 7.0
# Along log τ the sum can have two dips (very small margins that are always right: near τ = 1 by the prior, far below
# it by the labels), so a grid finds the right dip before the minimum is refined.
GRID = 141


def fit_temperature(
    margin_P: NDArray[np.float64], votes_P2: NDArray[np.int64], prior_deviation: float = PRIOR_DEVIATION
) -> float:
    """The temperature τ at which σ(ρ/τ) agrees best with the votes.

    Args:
        margin_P: ρ of P pairs, from before their labels were learned from.
        votes_P2: how often a and b were preferred; pairs without votes do not count.
        prior_deviation: s, the standard deviation of log τ before any label is seen.

    Returns:
        τ, positive: above 1 if the model was too sure, below 1 if it was too shy, 1 if nothing is known.
    """
    counts = (votes_P2.sum(axis=1) > 0) & (margin_P != 0)
    if not counts.any():
        return 1.0
    rho_P, votes_P2 = np.asarray(margin_P[counts], np.float64), votes_P2[counts]

    def loss(log_temperature: float) -> float:
        return temperature_loss(log_temperature, rho_P, votes_P2, prior_deviation)

    grid = np.linspace(-RANGE, RANGE, GRID)
    best = int(np.argmin([loss(x) for x in grid]))
    bounds = (grid[max(best - 1, 0)], grid[min(best + 1, GRID - 1)])
    found = minimize_scalar(loss, bounds=bounds, method="bounded", options={"xatol": 1e-9})
    return float(np.exp(found.x))


def temperature_loss(
    log_temperature: float, margin_P: NDArray[np.float64], votes_P2: NDArray[np.int64], prior_deviation: float
) -> float:
    """The negative log-posterior of log τ, in nats, up to a constant."""
    logit_P = margin_P * np.exp(-log_temperature)
    surprise = votes_P2[:, 0] @ np.logaddexp(0.0, -logit_P) + votes_P2[:, 1] @ np.logaddexp(0.0, logit_P)
    return float(surprise + log_temperature**2 / (2 * prior_deviation**2))
