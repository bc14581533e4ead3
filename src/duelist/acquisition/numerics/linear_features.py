"""What the rules for linear models have in common: the features they read, the prior's width, a label's information."""

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
        description="δ: the trained model's gradient differences, or frozen embeddings' differences.",
    )
    prior_variance: float = Field(default=100.0, gt=0, description="σ² of the prior, see `prior_relative`.")
    prior_relative: bool = Field(
        default=True,
        description="σ² is counted in units of 1 / (the pool's mean w|δ|²), so that the scale of the features does not "
        "matter (true): with 100, an average label on a fresh direction narrows it a hundredfold. Or it is an absolute "
        "number (false).",
    )

    def precision(self, rows_ND: Any, information_N: NDArray[np.float64]) -> float:
        """1/σ² for a pool.

        Args:
            rows_ND: δ, unscaled.
            information_N: w.
        """
        if not self.prior_relative:
            return 1.0 / self.prior_variance
        return pool_scale(information_N * row_square_norms(rows_ND)) / self.prior_variance


class RidgeConfig(BaseModel):
    """Abstract: settings of a rule with λI in its matrix."""

    model_config = ConfigDict(frozen=True, extra="forbid", populate_by_name=True)

    lambda_: float = Field(default=1.0, gt=0, alias="lambda", description="λ, the prior's precision (laplace).")
    lambda_relative: bool = Field(
        default=True, description="λ is a multiple of the pool's mean |φ|² (true), or an absolute number (false)."
    )

    def regularizer(self, square_norm_N: NDArray[np.float64]) -> float:
        """Return λ, absolute, for a pool of these w|φ|²."""
        return self.lambda_ * (pool_scale(square_norm_N) if self.lambda_relative else 1.0)


def field_of(which: FeatureName) -> str:
    """The field of `Features` that holds these features."""
    return f"{which}_ND"


def rows_of(features: Features, which: FeatureName) -> Any:
    """The rows `[N, D]`; `choose` has checked that they are filled."""
    return getattr(features, field_of(which))


def bernoulli_information(margin_N: NDArray[np.float64]) -> NDArray[np.float64]:
    """p(1 − p) with p = σ(margin): what a label tells of the margin. Without loss or overflow at any margin."""
    odds_N = np.exp(-np.abs(margin_N))
    return np.asarray(odds_N / (1.0 + odds_N) ** 2)


def pool_scale(square_norm_N: NDArray[np.float64]) -> float:
    """The mean of w|δ|² over a pool: what a relative prior is counted in.

    A pool without information has no scale of its own, and gets 1: every score is then 0 and the choice a fair draw.
    """
    mean = float(square_norm_N.mean())
    return mean if mean > 0 else 1.0
