"""Posterior over rewards, from samples or by Laplace's approximation: means, deviations and draws of every margin.

`samples`: the K members of `reward_N2K` (an ensemble, posterior draws, Monte-Carlo dropout) are the posterior, with
equal weights. `laplace`: a linear model of the margin in the features φ around the trained model, following MacKay,
"The Evidence Framework Applied to Classification Networks", 1992:

    margin(φ) = ρ + θᵀφ,    θ ~ N(0, Λ⁻¹),    Λ = λI + Σ_past p(1 − p) φφᵀ,    p = σ(ρ_past)

All arithmetic is in float64 with Cholesky factors, and no inverse is formed. With P past pairs and D dimensions, the
smaller of P x P and D x D is factored. The pool is read in blocks.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal, final

import numpy as np
import scipy
from numpy.typing import NDArray
from pydantic import Field

from duelist.acquisition.numerics.factors import factored
from duelist.acquisition.numerics.greedy import past_directions
from duelist.acquisition.numerics.linear_features import (
    FeatureName,
    RidgeConfig,
    bernoulli_information,
    field_of,
    rows_of,
)
from duelist.acquisition.numerics.pool_rows import as_rows, row_square_norms
from duelist.acquisition.numerics.single_gains import variances_along
from duelist.types import Features

Floats = NDArray[np.float64]


class PosteriorConfig(RidgeConfig):
    """Settings of a posterior, included in the settings of every rule that uses one."""

    posterior: Literal["samples", "laplace"] = Field(
        default="laplace", description="samples: rewards of an ensemble or a sampler; laplace: Laplace's approximation."
    )
    draws: int = Field(default=32, ge=1, description="Draws from Laplace's approximation, K.")
    features: FeatureName = Field(default="gradient", description="φ (laplace).")

    @property
    def needs(self) -> frozenset[str]:
        """Return the fields of `Features` that the posterior needs."""
        if self.posterior == "samples":
            return frozenset({"reward_N2K"})
        return frozenset({"margin_N", field_of(self.features), "past"})


@final
class Posterior:
    """Posterior of the margins of a pool."""

    def __init__(self, features: Features, config: PosteriorConfig) -> None:
        """Create the posterior from the fields named by `config.needs`."""
        self._laplace: _Laplace | None = None
        if config.posterior == "samples":
            assert features.reward_N2K is not None  # `choose` checked the needs
            self.reward_N2K = np.asarray(features.reward_N2K, np.float64)
        else:
            self._laplace = _Laplace(features, config)
        self._draws = config.draws

    @property
    def has_rewards(self) -> bool:
        """Return whether each response has a reward (`reward_N2K`); Laplace's approximation has only margins."""
        return self._laplace is None

    def moments(self) -> tuple[Floats, Floats]:
        """Return the posterior mean and standard deviation of every margin (samples: divisor K); shapes `[N]`."""
        if self._laplace is not None:
            return self._laplace.margin_N, self._laplace.deviations()
        margin_NK = self.reward_N2K[:, 0] - self.reward_N2K[:, 1]
        return margin_NK.mean(axis=1), margin_NK.std(axis=1)

    def margin_draws(self, rng: np.random.Generator) -> Floats:
        """Return draws of every margin, `[N, K]`; draw k is one reward function for all pairs. Samples: all members."""
        if self._laplace is not None:
            return self._laplace.draws(self._draws, rng)
        return np.asarray(self.reward_N2K[:, 0] - self.reward_N2K[:, 1])


@final
class _Laplace:
    def __init__(self, features: Features, config: PosteriorConfig) -> None:
        past = features.past
        # `choose` checked the needs
        assert features.margin_N is not None and past is not None and past.margin_N is not None
        rows, past_rows = rows_of(features, config.features), rows_of(past, config.features)
        self.margin_N = np.asarray(features.margin_N, np.float64)
        self._rows = as_rows(rows)
        self._regularizer = regularizer = config.regularizer(row_square_norms(self._rows))
        weight_P = bernoulli_information(np.asarray(past.margin_N, np.float64))
        past_PD = np.asarray(past_rows, np.float64) * np.sqrt(weight_P)[:, None]
        n_past, d = past_PD.shape
        self._lower_DD: Floats | None = None
        self._past_PD = past_PD
        if n_past < d:  # Λ⁻¹ = (I − GᵀG)/λ with G = L⁻¹U, LLᵀ = UUᵀ + λI (Woodbury)
            self._directions_PD = past_directions(past_PD, regularizer)
        else:
            self._lower_DD = factored(past_PD.T @ past_PD + regularizer * np.eye(d))

    def deviations(self) -> Floats:
        """Return sqrt(φᵀΛ⁻¹φ) of every pair."""
        if self._lower_DD is None:
            return np.sqrt(variances_along(self._rows, self._directions_PD, self._regularizer))
        variance_N = np.empty(len(self._rows))
        for positions_N, block_ND in self._blocks():
            white_DN = scipy.linalg.solve_triangular(self._lower_DD, block_ND.T, lower=True)
            variance_N[positions_N] = np.einsum("dn,dn->n", white_DN, white_DN)
        return np.sqrt(variance_N)

    def draws(self, k: int, rng: np.random.Generator) -> Floats:
        """Return K draws of every margin, `[N, K]`."""
        noise_DK = rng.standard_normal((self._rows.shape[1], k))
        if self._lower_DD is not None:
            theta_DK = scipy.linalg.solve_triangular(self._lower_DD, noise_DK, lower=True, trans="T")
        else:  # Λ⁻¹v has covariance Λ⁻¹ if v has Λ
            v_DK = np.sqrt(self._regularizer) * noise_DK
            v_DK += self._past_PD.T @ rng.standard_normal((len(self._past_PD), k))
            g_PD = self._directions_PD
            theta_DK = (v_DK - g_PD.T @ (g_PD @ v_DK)) / self._regularizer
        margin_NK = np.empty((len(self._rows), k))
        for positions_N, block_ND in self._blocks():
            margin_NK[positions_N] = block_ND @ theta_DK
        margin_NK += self.margin_N[:, None]
        return margin_NK

    def _blocks(self) -> Iterator[tuple[NDArray[np.int64], Floats]]:
        return self._rows.blocks()
