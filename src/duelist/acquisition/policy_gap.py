"""Selection of the comparisons expected to bring the policy's reward closest to that of the best policy.

Reference: Duelist's own: a second-order expansion at the optimum of the oracle objective (PILAF, arXiv 2502.04270,
           Theorem 4.3, equation (9): the Hessian is −Σ/β), with the estimate's covariance from Lemma 4.4. Derived in
           docs/methods/information.md. The criterion is Bayesian L-optimality (V-optimality; Chaloner and Verdinelli,
           "Bayesian experimental design: a review", Statistical Science, 1995).
Formula:   greedy argmax of the fall of tr(Σ I⁻¹),  I = λI + Σ p(1 − p)/τ²·φφᵀ as in `information`,  Σ = ½ mean of
           φφᵀ over target pairs (½: the second moment of a difference of two draws is twice their covariance).
Unit:      the fall of tr(Σ I⁻¹); divided by 2β, it is the expected rise of reward − β·KL.
Cost:      that of `information` for the features; then one pass over the pool per pick, O((P + B + M + N) D) each.
"""

from __future__ import annotations

from typing import Any, Literal, final

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from duelist.acquisition.base import Acquisition, Gains
from duelist.acquisition.numerics.label_information import LabelInformationConfig, label_information
from duelist.acquisition.numerics.linear_features import rows_of
from duelist.acquisition.numerics.pool_rows import PoolRows
from duelist.acquisition.numerics.question_information import MAPPED_TARGETS, pool_targets
from duelist.acquisition.numerics.question_rows import QuestionRows
from duelist.acquisition.numerics.single_gains import trace_falls
from duelist.acquisition.numerics.trace_design import reduce_trace, target_root
from duelist.types import Features, Selection


@final
class PolicyGapConfig(LabelInformationConfig):
    """Settings of `policy_gap`."""

    # A hundred times the λ of `information`: with less, directions that no label reaches in time decide the selection.
    lambda_: float = Field(default=1.0, gt=0, alias="lambda", description="λ in I = λI + Σ p(1 − p)·φφᵀ.")
    target: Literal["pool", "drawn"] = Field(
        default="drawn",
        description="Source of Σ: pairs drawn from the policy on the target prompts, or the candidates.",
    )
    beta: float | None = Field(
        default=None,
        gt=0,
        description="β of the study, to report `gain_reward`; only with `normalize: none`. No pick depends on it.",
    )


@final
class PolicyGap(Acquisition):
    """Greedy reduction of tr(Σ I⁻¹), with the exact gain of every candidate at each pick."""

    honours_cost = True
    selects_sets = True

    def __init__(self, config: PolicyGapConfig) -> None:
        self.config = config

    @property
    def needs(self) -> frozenset[str]:
        return self.config.needs | ({"target_MD"} if self.config.target == "drawn" else set())

    @property
    def refused_for_sets(self) -> str | None:
        return self.config.refused_for_sets

    def select(self, features: Features, budget: int, rng: np.random.Generator) -> Selection:
        known = label_information(features, self.config)
        target_MD = self._target(features, known.rows_ND)
        picks = reduce_trace(known.rows_ND, known.past_PD, target_MD, known.regularizer, budget, features.cost_N)
        diagnostics = {
            **known.diagnostics,
            "loss_before": 0.5 * picks.trace_before,  # Σ = ½ mean φφᵀ
            "loss_after": 0.5 * (picks.trace_before - float(picks.gain_B.sum())),
        }
        if self.config.beta is not None:
            # J(π*) − E J(π̂) = ½ tr(H I⁻¹), H = Σ/β
            diagnostics["gain_reward"] = float(picks.gain_B[-1]) / (4 * self.config.beta)
        score_B, unit = 0.5 * picks.gain_B, "fall of tr(Σ I⁻¹)"
        if features.cost_N is not None:
            score_B, unit = score_B / features.cost_N[picks.indices_B], f"{unit} per second"
        return Selection(picks.indices_B, score_B, unit, diagnostics)

    def gains(self, features: Features, rng: np.random.Generator) -> Gains:
        known = label_information(features, self.config)
        if isinstance(known.rows_ND, QuestionRows):
            return super().gains(features, rng)
        root_MD = target_root(self._target(features, known.rows_ND))
        fall_N = trace_falls(known.rows_ND, known.past_PD, root_MD, known.regularizer)
        return Gains(0.5 * fall_N, "fall of tr(Σ I⁻¹)", known.diagnostics)

    def _target(self, features: Features, rows: PoolRows | QuestionRows) -> NDArray[Any]:
        """Return the pairs from which Σ is estimated: those drawn on the target prompts, or the pool's."""
        if self.config.target == "drawn":
            assert features.target_MD is not None  # `choose` checked the needs
            return features.target_MD
        if isinstance(rows, QuestionRows):
            return pool_targets(rows)
        phi_ND = rows_of(features, self.config.features)
        if isinstance(phi_ND, PoolRows):
            return phi_ND.read(np.arange(min(len(phi_ND), MAPPED_TARGETS)))
        return np.asarray(phi_ND, np.float64)
