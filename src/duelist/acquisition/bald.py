"""BALD: the pairs whose labels carry the most information about the model, by disagreement of posterior draws.

Reference: Houlsby, Huszár, Ghahramani, Lengyel, "Bayesian Active Learning for Classification and Preference Learning",
           2011, arXiv 1112.5745, equation (2).
Formula:   I(label; parameters) = H(mean_k p_k) − mean_k H(p_k),  p_k = σ(r_k(y_a) − r_k(y_b)),  H the binary entropy.
Unit:      nats, at most log 2.
Cost:      that of the posterior (Laplace: O(N D (P + K))); then O(N K).
"""

from __future__ import annotations

import numpy as np
import scipy
from numpy.typing import NDArray

from duelist.acquisition.base import Gains
from duelist.acquisition.numerics.grouping import without_noise
from duelist.acquisition.numerics.posterior import Posterior, PosteriorConfig
from duelist.acquisition.posterior_rule import PosteriorRule
from duelist.acquisition.top import highest
from duelist.types import Features, Selection

Floats = NDArray[np.float64]

# Information below this many nats is the rounding of entropies of order one.
ROUNDING = 1e-14


class BALDConfig(PosteriorConfig):
    """Settings of BALD: those of its posterior."""


class BALD(PosteriorRule[BALDConfig]):
    """Selection by mutual information between a pair's label and the parameters; pairs are scored independently."""

    honours_cost = True

    def __init__(self, config: BALDConfig) -> None:
        self.config = config

    def select(self, features: Features, budget: int, rng: np.random.Generator) -> Selection:
        information_N = mutual_information(Posterior(features, self.config).margin_draws(rng))
        chosen = highest(without_noise(information_N, ROUNDING), budget, "mutual information in nats", features.cost_N)
        # Upper bound over the remaining pairs. With costs, the last pick may be cheap rather than informative.
        best_left = information_N[chosen.indices_B[-1]]
        if features.cost_N is not None and budget < features.n:
            best_left = np.delete(information_N, chosen.indices_B).max()
        return Selection(chosen.indices_B, chosen.scores_B, chosen.unit, {"gain_nats": float(best_left)})

    def gains(self, features: Features, rng: np.random.Generator) -> Gains:
        information_N = mutual_information(Posterior(features, self.config).margin_draws(rng))
        return Gains(information_N, "mutual information in nats")


def mutual_information(margin_NK: Floats) -> Floats:
    """Return I(label; k) of each pair, in nats, from its margins under K equally likely reward functions.

    Args:
        margin_NK: margins, of any finite size.
    """
    p_NK = scipy.special.expit(margin_NK)
    q_NK = scipy.special.expit(-margin_NK)  # 1 − p would be 0 from a margin of 37 on
    information_N = entropy(p_NK.mean(axis=1), q_NK.mean(axis=1)) - entropy(p_NK, q_NK).mean(axis=1)
    return np.asarray(np.maximum(information_N, 0.0))


def entropy(p: Floats, q: Floats) -> Floats:
    """Return the entropy of a label with probabilities p and q = 1 − p, in nats; 0 at p = 0 and p = 1."""
    return -np.asarray(scipy.special.xlogy(p, p) + scipy.special.xlogy(q, q))
