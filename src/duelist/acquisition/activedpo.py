"""ActiveDPO: select the comparisons about which the model's own implicit reward is least certain.

Reference: Lin et al., "ActiveDPO: Active Direct Preference Optimization for Sample-Efficient Alignment", ICLR 2026,
           arXiv 2505.19241, equations (3) and (4), Proposition 1, Section 3.3.
Formula:   argmax ‖φ‖_{V⁻¹},  φ = ∇r(x, y_a) − ∇r(x, y_b),  V = λI + Σ φφᵀ over past pairs and this batch's picks.
Unit:      ‖φ‖_{V⁻¹}, a posterior standard deviation relative to the prior's 1/√λ.
Cost:      one gradient per response; then O((P + B) N D) at most for the picks, and few passes over the pool.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from duelist.acquisition.base import Acquisition, Gains
from duelist.acquisition.numerics.design_bound import Certificate, certificate
from duelist.acquisition.numerics.greedy import pick_greedily
from duelist.acquisition.numerics.linear_features import RidgeConfig
from duelist.acquisition.numerics.optimal_design import Design, DesignProblem
from duelist.acquisition.numerics.pool_rows import PoolRows, as_rows, row_square_norms
from duelist.acquisition.numerics.question_information import matrices_of, past_rows, question_rows
from duelist.acquisition.numerics.question_rows import QuestionRows
from duelist.acquisition.numerics.single_gains import variances
from duelist.acquisition.numerics.streamed import pick_streamed
from duelist.types import Features, Selection


class ActiveDPOConfig(RidgeConfig):
    """Settings of ActiveDPO. For the projection and normalisation of gradients see `featurizers.gradient`."""

    lambda_: float = Field(default=0.01, gt=0, alias="lambda", description="λ in V = λI + Σ φφᵀ.")
    certificate: Certificate = Field(
        default=False,
        description="Bound the gap between logdet V and that of the best batch, see `d_opt`; of pairs only. Holds the "
        "pool in memory.",
    )
    readings: int | None = Field(
        default=None,
        ge=2,
        description="Readings of a large pool for the picks, at most: candidates from each GiB of it, a choice among "
        "them, and a check of every row, with a bound on what was lost. null: as many as plain greedy needs. Of pairs "
        "only, and not with `per_second`.",
    )


class ActiveDPO(Acquisition):
    """Greedy argmax of the norm of the gradient difference in V⁻¹; V is updated within the batch.

    If cost counts, it maximises the gain of log-determinant per second: log(1 + ‖φ‖²_{V⁻¹}) / seconds.
    """

    selects_sets = True

    def __init__(self, config: ActiveDPOConfig) -> None:
        self.config = config
        self.honours_cost = config.readings is None

    @property
    def needs(self) -> frozenset[str]:
        return frozenset({"gradient_ND", "past"})

    @property
    def refused_for_sets(self) -> str | None:
        if self.config.readings is not None:
            return "`readings`, which is for pairs alone (set it to null)"
        return (
            "`certificate: true`, a bound on pairs alone (set it to false)" if self.config.certificate is True else None
        )

    def select(self, features: Features, budget: int, rng: np.random.Generator) -> Selection:
        rows, past_PD, square_norm_N = _unweighted(features)
        regularizer = self.config.regularizer(square_norm_N)
        cost_N, streamed = features.cost_N if self.honours_cost else None, {}
        if self.config.readings is not None and isinstance(rows, PoolRows):
            found = pick_streamed(rows, past_PD, regularizer, budget, readings=self.config.readings)
            picks = found.picks
            # 0: the picks are those of plain greedy.
            streamed = {"logdet_loss_bound_nats": found.loss_bound, "logdet_gain_bound_nats": found.upper_bound}
        else:
            picks = pick_greedily(rows, past_PD, regularizer, budget, square_norm_N, cost_N=cost_N)  # eq. (3), (4)
        scores_B, unit = np.sqrt(picks.square_B), "‖φ‖ in V⁻¹ (relative uncertainty)"
        if isinstance(rows, QuestionRows):
            unit = "√(det(I + U V⁻¹Uᵀ) − 1): ‖φ‖ in V⁻¹ for a pair"
        if cost_N is not None:
            scores_B, unit = np.log1p(picks.square_B) / cost_N[picks.indices_B], "nats of logdet V per second"
        diagnostics = {
            "lambda": regularizer,
            "mean_square_norm": float(square_norm_N.mean()),
            # Gain of log-determinant by the batch, in nats: logdet(V after) − logdet(V before).
            "logdet_gain_nats": picks.log_determinant_gain,
            # Upper bound on the gain of any remaining question.
            "gain_nats": float(np.log1p(picks.best_left)),
            # Passes over the pool for the picks, in addition to one pass for |φ|².
            "readings_of_the_pool": picks.rows_read / rows.stored_rows,
            **streamed,
        }
        if self.config.certificate and not isinstance(rows, QuestionRows):
            problem = DesignProblem.of(np.asarray(rows), np.ones(len(rows)), regularizer, past_PD)
            design = Design(picks.indices_B, picks.square_B, problem.log_determinant(picks.indices_B))
            diagnostics["logdet_nats"] = design.log_determinant
            diagnostics |= certificate(problem, design, self.config.certificate)
        return Selection(picks.indices_B, scores_B, unit, diagnostics)

    def gains(self, features: Features, rng: np.random.Generator) -> Gains:
        rows, past_PD, square_norm_N = _unweighted(features)
        if isinstance(rows, QuestionRows):
            return super().gains(features, rng)
        regularizer = self.config.regularizer(square_norm_N)
        norm_N = np.sqrt(variances(rows, past_PD, regularizer))
        return Gains(norm_N, "‖φ‖ in V⁻¹ (relative uncertainty)", {"lambda": regularizer})


def _unweighted(features: Features) -> tuple[PoolRows | QuestionRows, NDArray[Any], NDArray[np.float64]]:
    """Return φ of candidates and past pairs, or the rows of larger questions at equal rewards, and their |φ|²."""
    past = features.past
    assert past is not None  # `choose` checked the needs
    if features.place_NQ is not None:
        rows = question_rows(features, "gradient", matrices_of(features, weighted=False))
        return rows, past_rows(past, "gradient", matrices_of(past, weighted=False)), rows.square_norm_N
    phi_ND, past_PD = features.gradient_ND, past.gradient_ND
    assert phi_ND is not None and past_PD is not None
    return as_rows(phi_ND), past_PD, row_square_norms(phi_ND)
