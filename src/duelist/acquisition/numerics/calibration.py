"""Calibration of the model's margins: a temperature fitted by maximum likelihood to the labels so far.

Reference: Guo et al., "On Calibration of Modern Neural Networks", ICML 2017, arXiv 1706.04599 (temperature scaling).
Formula:   minimise over τ   −Σ_i [n_a log σ(ρ_i/τ) + n_b log σ(−ρ_i/τ)] + (log τ)² / (2 s²).

ρ_i must be the margin before any training on pair i's labels. A model is confident about its training data, so margins
from after training would make every margin look reliable. Selecting pairs by their margins adds no bias: the selection
depends on ρ and not on the label, so the likelihood given ρ is the same for any selection.

The last term is a weak log-normal prior at τ = 1. It decides if the labels carry no information: there are no labels,
or all margins are zero, as they are while the policy equals its reference.
"""

from __future__ import annotations

import numpy as np
import scipy
from numpy.typing import NDArray

# s: one standard deviation of the prior is a factor of e; about ten informative labels outweigh it.
PRIOR_DEVIATION = 1.0
# Search range of log τ, from −RANGE to RANGE: a factor of about a thousand in both directions.
RANGE = 7.0
# The loss can have two minima in log τ (for very small margins that are always right: near τ = 1 from the prior, far
# below it from the labels). So a grid search finds the lower one, which is then refined.
GRID = 141


def fit_temperature(
    margin_P: NDArray[np.float64], votes_P2: NDArray[np.int64], prior_deviation: float = PRIOR_DEVIATION
) -> float:
    """Return the temperature τ at which σ(ρ/τ) agrees best with the votes.

    Args:
        margin_P: ρ of P pairs, from before training on their labels.
        votes_P2: number of votes for a and for b; pairs without votes do not count.
        prior_deviation: s, the prior standard deviation of log τ.

    Returns:
        τ, positive: above 1 if the model was overconfident, below 1 if it was underconfident, 1 without information.
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
    found = scipy.optimize.minimize_scalar(loss, bounds=bounds, method="bounded", options={"xatol": 1e-9})
    return float(np.exp(found.x))


def temperature_loss(
    log_temperature: float, margin_P: NDArray[np.float64], votes_P2: NDArray[np.int64], prior_deviation: float
) -> float:
    """Return the negative log-posterior of log τ, in nats, up to a constant."""
    logit_P = margin_P * np.exp(-log_temperature)
    surprise = votes_P2[:, 0] @ np.logaddexp(0.0, -logit_P) + votes_P2[:, 1] @ np.logaddexp(0.0, logit_P)
    return float(surprise + log_temperature**2 / (2 * prior_deviation**2))
