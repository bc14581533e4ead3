"""APO: select the comparisons about which a linear reward on frozen embeddings is least certain.

Reference: Das, Chakraborty, Pacchiano, Chowdhury, "Active Preference Optimization for Sample Efficient RLHF", 2024,
           arXiv 2402.10500.
Formula:   the highest ‖δ‖_{V⁻¹},  V = V₀ I + Σ_past δδᵀ, V the same for the whole batch.
Unit:      ‖δ‖_{V⁻¹}, a posterior standard deviation.
Cost:      one QR factorisation of min(D, N + P) dimensions, then one product with the pool, O(N D²).
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field

from duelist.acquisition.base import Acquisition, Gains
from duelist.acquisition.numerics.linear_features import FeatureName, field_of, rows_of
from duelist.acquisition.numerics.optimal_design import DesignProblem, factored_past, first_of_highest, leverages
from duelist.types import Features, Selection


class APOConfig(BaseModel):
    """Settings of APO."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    features: FeatureName = Field(
        default="embedding",
        description="δ: differences of frozen embeddings, as in the paper, or of the model's gradients.",
    )
    v0: float = Field(default=1e-5, gt=0, description="V₀: V before any label is V₀ I.")


class APO(Acquisition):
    """Selection of the largest norms in V⁻¹, all at once: without σ′, and without regard to overlap between picks."""

    def __init__(self, config: APOConfig) -> None:
        self.config = config

    @property
    def needs(self) -> frozenset[str]:
        return frozenset({field_of(self.config.features), "past"})

    def select(self, features: Features, budget: int, rng: np.random.Generator) -> Selection:
        square_N = self._square_norms(features)
        indices_B = first_of_highest(square_N, budget)
        return Selection(
            indices_B,
            np.sqrt(square_N[indices_B]),
            "‖δ‖ in V⁻¹ (uncertainty)",
            {"gain_nats": float(np.log1p(square_N[indices_B[-1]]))},
        )

    def gains(self, features: Features, rng: np.random.Generator) -> Gains:
        return Gains(np.sqrt(self._square_norms(features)), "‖δ‖ in V⁻¹ (uncertainty)")

    def _square_norms(self, features: Features) -> NDArray[np.float64]:
        """Return ‖δ‖² in V⁻¹ of every pair."""
        assert features.past is not None  # `choose` checked the needs
        past_PD = rows_of(features.past, self.config.features)
        # All in float64, with a factor of V: at V₀ = 1e-5 a float32 inverse gives negative squared norms.
        rows_ND = rows_of(features, self.config.features)
        problem = DesignProblem.of(rows_ND, np.ones(features.n), self.config.v0, past_PD)
        return leverages(problem.rows_ND, factored_past(problem))
