"""One-step look-ahead on the true J: a reference that sees the true rewards, and shows what choice could gain.

Reference: Duelist's own; the knowledge gradient (Frazier, Powell, Dayanik, "A knowledge-gradient policy for sequential
           information collection", SIAM J. Control Optim. 47, 2008) with known truth, on a Laplace approximation.
Formula:   I = λI + Σ p(1 − p) φφᵀ over past pairs, C = Φ I⁻¹ Φᵀ. A label y of pair c moves the implicit margins by
           C_c (y − p_c) / (1 + p_c(1 − p_c) C_cc). J is the mean over the pool's pairs, each a prompt with two equally
           likely responses under the reference: with s = σ(ρ/β),
           J = mean weight · [(s − ½)(R_a − R_b) − β(s log 2s + (1 − s) log 2(1 − s))].
           Each pick: the first-order rise of J shortlists pairs; of those, the largest expected rise over the label's
           true probabilities is picked, and the margins and C move on by its expected label.
Unit:      rise of J, in log-odds of a label.
Cost:      O(M² D) for the M pairs it works on, then O(M · shortlist) per pick.

It is greedy and its J is an approximation on the pool: a reference, not a bound. It assumes a pool drawn from the
reference (`pool: fixed`, starting from the base model), and φ = ∇ρ unscaled (`normalize: none`).
"""

from __future__ import annotations

from typing import final

import numpy as np
from numpy.typing import NDArray
from pydantic import Field
from scipy.linalg import cho_factor, cho_solve
from scipy.special import expit, xlogy

from duelist.acquisition.base import Acquisition
from duelist.acquisition.numerics.linear_features import RidgeConfig, bernoulli_information
from duelist.errors import DuelistError
from duelist.suite.truth import CHOSEN, COLUMNS, REWARD, WEIGHT
from duelist.types import Features, Selection

Floats = NDArray[np.float64]


class LookAheadConfig(RidgeConfig):
    """Settings of the look-ahead."""

    beta: float = Field(gt=0, description="β of the study.")
    shortlist: int = Field(default=64, ge=1, description="Pairs whose rise of J is computed exactly at each pick.")
    pool: int = Field(default=1024, ge=1, description="Candidates that are considered, drawn at random.")


@final
class LookAhead(Acquisition):
    """Greedy expected rise of the true J under a linearised update."""

    def __init__(self, config: LookAheadConfig) -> None:
        self.config = config

    @property
    def needs(self) -> frozenset[str]:
        return frozenset({"margin_N", "gradient_ND", "reward_N2K", "past"})

    def select(self, features: Features, budget: int, rng: np.random.Generator) -> Selection:
        n, past = min(features.n, max(self.config.pool, budget)), features.past  # the pool arrives in random order
        # `choose` checked the needs
        assert past is not None and features.margin_N is not None and past.margin_N is not None
        assert features.gradient_ND is not None and past.gradient_ND is not None
        assert features.reward_N2K is not None and past.reward_N2K is not None
        truth_M2K = np.concatenate([features.reward_N2K[:n], past.reward_N2K])
        if truth_M2K.shape[2] != COLUMNS:
            raise DuelistError(
                f"The look-ahead needs the {COLUMNS} numbers per response that `duelist.suite.truth:Truth` computes, "
                f"but got {truth_M2K.shape[2]}: make that featurizer one of the recipe's."
            )
        phi_MD = np.concatenate(
            [np.asarray(features.gradient_ND[np.arange(n)], np.float64), np.asarray(past.gradient_ND, np.float64)]
        )
        margin_M = np.concatenate([features.margin_N[:n], past.margin_N])
        weight_M = bernoulli_information(margin_M)
        ridge = self.config.regularizer((weight_M * (phi_MD**2).sum(axis=1))[:n])
        covariance_MM = margin_covariance(phi_MD @ phi_MD.T, np.arange(n, len(phi_MD)), weight_M[n:], ridge)
        world = _World(truth_M2K, self.config.beta)
        picks, rises = [], []
        open_N = np.ones(n, bool)
        for _ in range(budget):
            listed = _shortlist(world, margin_M, covariance_MM, np.flatnonzero(open_N), self.config.shortlist)
            rise_X = world.expected_rise(margin_M, covariance_MM, listed)
            best = int(listed[np.argmax(rise_X)])
            picks.append(best)
            rises.append(float(rise_X.max()))
            open_N[best] = False
            step = world.step(margin_M, covariance_MM, best)
            weight = float(bernoulli_information(margin_M[[best]])[0])
            column_M = covariance_MM[:, best].copy()
            margin_M = margin_M + column_M * float(world.chosen_M2[best] @ step)
            covariance_MM -= np.outer(column_M, column_M) * (weight / (1.0 + weight * column_M[best]))
        diagnostics = {"lambda": ridge, "j_before": world.j(margin_M)}
        return Selection(np.array(picks, dtype=np.int64), np.array(rises), "expected rise of J", diagnostics)


def margin_covariance(gram_MM: Floats, past: NDArray[np.int64], weight_P: Floats, ridge: float) -> Floats:
    """Return Φ (λI + Φ_pastᵀ W Φ_past)⁻¹ Φᵀ from the inner products of the rows of Φ (Woodbury's identity).

    Args:
        gram_MM: ΦΦᵀ.
        past: positions of the P past pairs.
        weight_P: their p(1 − p), positive.
        ridge: λ.
    """
    if not len(past):
        return np.asarray(gram_MM / ridge)
    cross_MP = gram_MM[:, past]
    inner_PP = ridge * np.diag(1.0 / weight_P) + gram_MM[np.ix_(past, past)]
    return np.asarray((gram_MM - cross_MP @ cho_solve(cho_factor(inner_PP), cross_MP.T)) / ridge)


class _World:
    """True J over M pairs, and what a label does to it."""

    def __init__(self, truth_M2K: Floats, beta: float) -> None:
        self.chosen_M2 = truth_M2K[:, :, CHOSEN]
        self.advantage_M = truth_M2K[:, 0, REWARD] - truth_M2K[:, 1, REWARD]
        weight_M = truth_M2K[:, 0, WEIGHT]
        self.share_M = weight_M / max(weight_M.sum(), np.finfo(float).tiny)
        self.beta = beta

    def j(self, margin_M: Floats) -> float:
        """Return J at the margins."""
        return float(self.j_X(margin_M[:, None])[0])

    def j_X(self, margin_MX: Floats) -> Floats:
        """Return J at each of X vectors of margins."""
        s_MX = expit(margin_MX / self.beta)
        kl_MX = xlogy(s_MX, 2 * s_MX) + xlogy(1 - s_MX, 2 * (1 - s_MX))
        return np.asarray(self.share_M @ ((s_MX - 0.5) * self.advantage_M[:, None] - self.beta * kl_MX))

    def slope_M(self, margin_M: Floats) -> Floats:
        """Return dJ/dρ of each pair."""
        s_M = expit(margin_M / self.beta)
        return np.asarray(self.share_M * s_M * (1 - s_M) / self.beta * (self.advantage_M - margin_M))

    def step(self, margin_M: Floats, covariance_MM: Floats, pair: int) -> Floats:
        """Return the factors of C_c with which a label a, and a label b, of pair c moves the margins, `[2]`."""
        p = float(expit(margin_M[pair]))
        return np.array([1 - p, -p]) / (1 + p * (1 - p) * float(covariance_MM[pair, pair]))

    def expected_rise(self, margin_M: Floats, covariance_MM: Floats, pairs_X: NDArray[np.int64]) -> Floats:
        """Return the expected rise of J by a label of each of some pairs, over the label's true probabilities."""
        step_X2 = np.array([self.step(margin_M, covariance_MM, c) for c in pairs_X.tolist()])
        column_MX, before = covariance_MM[:, pairs_X], self.j(margin_M)
        rise_X2 = np.stack([self.j_X(margin_M[:, None] + column_MX * step_X2[:, y]) for y in (0, 1)], axis=1) - before
        return np.asarray((self.chosen_M2[pairs_X] * rise_X2).sum(axis=1))


def _shortlist(
    world: _World, margin_M: Floats, covariance_MM: Floats, open_X: NDArray[np.int64], size: int
) -> NDArray[np.int64]:
    """Return the pairs whose expected label raises J most to first order."""
    p_X = expit(margin_M[open_X])
    expected_X = world.chosen_M2[open_X, 0] * (1 - p_X) - world.chosen_M2[open_X, 1] * p_X
    expected_X /= 1 + p_X * (1 - p_X) * covariance_MM[open_X, open_X]
    rise_X = expected_X * (world.slope_M(margin_M) @ covariance_MM[:, open_X])
    return open_X[np.argsort(-rise_X, kind="stable")[:size]]
