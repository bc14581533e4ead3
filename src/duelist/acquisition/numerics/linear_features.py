"""Shared parts of the rules for linear models: the features they read, the prior's width, a label's information."""

from __future__ import annotations

from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field

from duelist.acquisition.numerics.pool_rows import row_square_norms
from duelist.types import Features

FeatureName = Literal["gradient", "embedding"]


class PriorConfig(BaseModel):
    """Settings of a rule on a linear model with a Gaussian prior."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    features: FeatureName = Field(
        default="gradient",
        description="δ: differences of the trained model's gradients, or of frozen embeddings.",
    )
    prior_variance: float = Field(default=100.0, gt=0, description="σ² of the prior, see `prior_relative`.")
    prior_relative: bool = Field(
        default=True,
        description="true: σ² is in units of 1 / (the pool's mean w|δ|²), which removes the scale of the features; "
        "with 100, an average label on a new direction narrows it a hundredfold. false: σ² is an absolute number.",
    )

    def precision(self, rows_ND: Any, information_N: NDArray[np.float64]) -> float:
        """Return 1/σ² for a pool.

        Args:
            rows_ND: δ, unscaled.
            information_N: w.
        """
        if not self.prior_relative:
            return 1.0 / self.prior_variance
        return self.precision_for(information_N * row_square_norms(rows_ND))

    def precision_for(self, square_norm_N: NDArray[np.float64]) -> float:
        """Return 1/σ² for a pool with these w|δ|²: the traces of the information of its labels."""
        return (pool_scale(square_norm_N) if self.prior_relative else 1.0) / self.prior_variance


class RidgeConfig(BaseModel):
    """Abstract base of the settings of a rule with λI in its matrix."""

    model_config = ConfigDict(frozen=True, extra="forbid", populate_by_name=True)

    lambda_: float = Field(default=1.0, gt=0, alias="lambda", description="λ, the prior's precision (laplace).")
    lambda_relative: bool = Field(
        default=True, description="λ is a multiple of the pool's mean |φ|² (true), or an absolute number (false)."
    )

    def regularizer(self, square_norm_N: NDArray[np.float64]) -> float:
        """Return the absolute λ for a pool with these w|φ|²."""
        return self.lambda_ * (pool_scale(square_norm_N) if self.lambda_relative else 1.0)


def field_of(which: FeatureName) -> str:
    """Return the field of `Features` that contains these features."""
    return f"{which}_ND"


def rows_of(features: Features, which: FeatureName) -> Any:
    """Return the rows, `[N, D]`; `choose` has checked that they are filled."""
    return getattr(features, field_of(which))


def bernoulli_information(margin_N: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return p(1 − p), p = σ(margin): a label's information about the margin, without loss or overflow.

    Reference: Shen, Sun, Ton, arXiv 2502.04354, equation (3).
    """
    odds_N = np.exp(-np.abs(margin_N))
    return np.asarray(odds_N / (1.0 + odds_N) ** 2)


def pool_scale(square_norm_N: NDArray[np.float64]) -> float:
    """Return the mean of w|δ|² over a pool: the unit of a relative prior.

    A pool without information has no scale, and the result is 1: every score is then 0 and the selection a fair draw.
    """
    mean = float(square_norm_N.mean())
    return mean if mean > 0 else 1.0
