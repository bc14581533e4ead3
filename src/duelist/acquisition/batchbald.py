"""BatchBALD: the batch whose joint labels carry the most information about the model, without redundant picks.

Reference: Kirsch, van Amersfoort, Gal, "BatchBALD: Efficient and Diverse Batch Acquisition for Deep Bayesian Active
           Learning", NeurIPS 2019, arXiv 1906.08158, Sections 2 and 3.
Formula:   greedily maximise I(labels; k) = H(y_1 ... y_B) − mean_k Σ_i H(y_i | k);  a pick's gain is
           Σ_c p(c) [H(y | c) − Σ_k p(k | c) H(y | k)] over the configurations c of the batch's labels.
Unit:      nats.
Cost:      that of the posterior; then O(N K C) per pick at most, C the configurations (lazily much less).

The labels y_1 ... y_b of the batch so far have 2^b configurations. The first picks sum over all of them, each weighted
by its probability. Later picks use a sample of configurations, drawn from their joint distribution and extended label
by label. A configuration is stored as its posterior over k: p(k | c) = p(c | k) / Σ p(c | k), a row that sums to 1.
Nothing underflows, for any number of labels.

Summed over all configurations, this is the paper's joint entropy minus the part that all candidates share. For a
sample, the paper uses mean_c H(y | c) − mean_k H(y | k); its noise exceeds the gain once the batch is large. Here each
configuration is compared with its own expected entropy. This estimate has the same mean and is never negative.

A gain never rises as the batch grows, so an old gain is a bound. A pair is skipped while its bound is below the best
gain (lazy greedy). With sampled configurations this holds on average: a pair whose estimate would rise by chance may be
skipped.

K draws carry log K nats at most. Once the picks distinguish all draws, no pair has any gain left. The rest of the batch
is then a fair draw, and `informed_picks` counts the picks before it. Use a K that grows with the budget.
"""

from __future__ import annotations

from typing import final

import numpy as np
import scipy
from numpy.typing import NDArray
from pydantic import Field

from duelist.acquisition.bald import entropy
from duelist.acquisition.numerics.posterior import Posterior, PosteriorConfig
from duelist.acquisition.posterior_rule import PosteriorRule
from duelist.types import Features, Selection

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]

# Gains that differ by less count as equal: the rounding of entropies of order one.
TIE_NATS = 1e-12
# Pairs evaluated together, at first and at most; the number doubles with every further evaluation.
FIRST_LOOK, LARGEST_LOOK = 16, 1024


class BatchBALDConfig(PosteriorConfig):
    """Settings of BatchBALD."""

    draws: int = Field(
        default=512, ge=1, description="Draws from Laplace's approximation, K; they carry log K nats at most."
    )
    exact_picks: int = Field(
        default=8, ge=0, le=16, description="Maximum number of labels b for an exact sum over all 2^b configurations."
    )
    configurations: int = Field(default=256, ge=1, description="Configurations sampled for later picks.")


class BatchBALD(PosteriorRule[BatchBALDConfig]):
    """Greedy maximisation of the mutual information between the labels of the batch and the parameters."""

    honours_cost = True

    def __init__(self, config: BatchBALDConfig) -> None:
        self.config = config

    def select(self, features: Features, budget: int, rng: np.random.Generator) -> Selection:
        margin_NK = Posterior(features, self.config).margin_draws(rng)
        batch = _Batch(margin_NK, self.config, features.cost_N, rng)
        indices_B, gain_B = np.empty(budget, np.int64), np.zeros(budget)
        informed = 0
        while informed < budget:
            pick, gain = batch.find()
            if gain <= TIE_NATS:
                break
            indices_B[informed], gain_B[informed] = pick, gain
            informed += 1
            if informed < budget:
                batch.add(pick)
        rest = np.setdiff1d(np.arange(features.n), indices_B[:informed])  # pool order is random: a fair draw
        indices_B[informed:] = rest[: budget - informed]
        scores_B, unit = gain_B, "information gained in nats"
        if features.cost_N is not None:
            scores_B, unit = gain_B / features.cost_N[indices_B], f"{unit} per second"
        best_left = float(gain_B[-1])
        if features.cost_N is not None and informed == budget < features.n:
            best_left = batch.most_left(indices_B)
        diagnostics = {
            "gain_nats": best_left,
            "information_nats": float(gain_B.sum()),
            "most_information_nats": float(np.log(margin_NK.shape[1])),
            "informed_picks": float(informed),
            "gains_computed": float(batch.gains_computed),
        }
        return Selection(indices_B, scores_B, unit, diagnostics)


@final
class _Batch:
    """The configurations of the batch's labels so far, and each pair's gain given them, or a bound on it."""

    def __init__(
        self, margin_NK: Floats, config: BatchBALDConfig, cost_N: Floats | None, rng: np.random.Generator
    ) -> None:
        self._p_NK = scipy.special.expit(margin_NK)
        self._q_NK = scipy.special.expit(-margin_NK)
        self._config, self._rng = config, rng
        n, k = margin_NK.shape
        self._entropy_NK = entropy(self._p_NK, self._q_NK)
        self._rate_N = np.ones(n) if cost_N is None else 1.0 / cost_N
        self._posterior_CK = np.full((1, k), 1.0 / k)
        self._weight_C = np.ones(1)
        self._picks = 0
        self._sampled = False
        self._gain_N = np.full(n, np.inf)
        self._fresh_N = np.zeros(n, bool)
        self._open_N = np.ones(n, bool)
        self.gains_computed = 0

    def find(self) -> tuple[int, float]:
        """Return the first pair of largest gain (per second, if cost counts), and its gain in nats."""
        size = FIRST_LOOK
        while True:
            value_N = np.where(self._open_N, self._gain_N * self._rate_N, -np.inf)
            fresh_N = self._fresh_N & self._open_N
            best = float(value_N[fresh_N].max(initial=-np.inf))
            enough = best - TIE_NATS * float(self._rate_N.max())
            stale = np.flatnonzero(self._open_N & ~self._fresh_N & (value_N >= enough) & (value_N > 0))
            if not len(stale):
                first = int(np.flatnonzero(self._open_N & (value_N >= enough))[0])
                return first, float(self._gain_N[first])
            look = stale if len(stale) <= size else stale[np.argpartition(-value_N[stale], size)[:size]]
            for start in range(0, len(look), LARGEST_LOOK):
                some = look[start : start + LARGEST_LOOK]
                self._gain_N[some] = self._gains(some)
            self._fresh_N[look] = True
            self.gains_computed += len(look)
            size = min(2 * size, LARGEST_LOOK)

    def most_left(self, picked_B: Integers) -> float:
        """Return an upper bound on the gain of any remaining pair, in nats: old gains bound new ones."""
        return float(np.delete(self._gain_N, picked_B).max())

    def add(self, pick: int) -> None:
        """Add a pair to the batch: its label extends every configuration."""
        self._picks += 1
        self._open_N[pick] = False
        self._fresh_N[:] = False
        p_K, q_K = self._p_NK[pick], self._q_NK[pick]
        if not self._sampled and self._picks > self._config.exact_picks:
            chosen = self._rng.choice(len(self._weight_C), size=self._config.configurations, p=self._weight_C)
            self._posterior_CK, self._sampled = self._posterior_CK[chosen], True
            self._weight_C = np.full(len(chosen), 1.0 / len(chosen))
        if self._sampled:
            is_a_C = self._rng.random(len(self._weight_C)) < self._posterior_CK @ p_K
            joint_CK = self._posterior_CK * np.where(is_a_C[:, None], p_K, q_K)
            chance_C = joint_CK.sum(axis=1)
        else:
            joint_CK = np.concatenate([self._posterior_CK * p_K, self._posterior_CK * q_K])
            chance_C = joint_CK.sum(axis=1)
            weight_C = np.tile(self._weight_C, 2) * chance_C
            possible_C = weight_C > 0
            joint_CK, chance_C = joint_CK[possible_C], chance_C[possible_C]
            self._weight_C = weight_C[possible_C] / weight_C.sum()
        self._posterior_CK = joint_CK / chance_C[:, None]

    def _gains(self, some: Integers) -> Floats:
        """Return the information that some pairs' labels carry about k, averaged over configurations, in nats."""
        p_CN = self._posterior_CK @ self._p_NK[some].T
        q_CN = self._posterior_CK @ self._q_NK[some].T
        given_k_N = self._entropy_NK[some] @ (self._weight_C @ self._posterior_CK)
        return np.asarray(np.maximum(self._weight_C @ entropy(p_CN, q_CN) - given_k_N, 0.0))
