"""The unified design: select the comparisons whose labels carry the most information about the weights that DPO trains.

Reference: Duelist's own, from three parts: the gradient features of ActiveDPO (Lin et al., arXiv 2505.19241), the
           weights p(1 − p) and past pairs of active reward modelling (Shen, Sun, Ton, arXiv 2502.04354), and the
           information matrix of DPO under any sampling (PILAF, arXiv 2502.04270, Lemma 4.4, equations (11) and (12)).
Formula:   greedy argmax of logdet I,  I = λI + Σ p(1 − p)/τ²·φφᵀ over past pairs and this batch's picks,  p = σ(ρ/τ).
Unit:      nats: the label's gain of logdet I, log(1 + p(1 − p)/τ²·‖φ‖²_{I⁻¹}).
Cost:      that of ActiveDPO, plus the margins: one forward pass of the reference for each distinct response.
"""

from __future__ import annotations

from typing import final

import numpy as np

from duelist.acquisition.base import Acquisition, Gains
from duelist.acquisition.numerics.greedy import pick_greedily
from duelist.acquisition.numerics.label_information import LabelInformationConfig, label_information
from duelist.acquisition.numerics.question_rows import QuestionRows
from duelist.acquisition.numerics.single_gains import variances
from duelist.types import Features, Selection


@final
class InformationConfig(LabelInformationConfig):
    """Settings of `information`."""


@final
class Information(Acquisition):
    """Greedy D-optimal design on the information matrix of the preference labels."""

    honours_cost = True
    selects_sets = True

    def __init__(self, config: InformationConfig) -> None:
        self.config = config

    @property
    def needs(self) -> frozenset[str]:
        return self.config.needs

    @property
    def refused_for_sets(self) -> str | None:
        return self.config.refused_for_sets

    def select(self, features: Features, budget: int, rng: np.random.Generator) -> Selection:
        known = label_information(features, self.config)
        picks = pick_greedily(
            known.rows_ND, known.past_PD, known.regularizer, budget, known.square_norm_N, cost_N=features.cost_N
        )
        gain_B = np.log1p(picks.square_B)
        score_B, unit = gain_B, "gain of log-determinant in nats"
        if features.cost_N is not None:
            score_B, unit = gain_B / features.cost_N[picks.indices_B], f"{unit} per second"
        return Selection(
            picks.indices_B,
            score_B,
            unit,
            {
                **known.diagnostics,
                "gain_nats": float(np.log1p(picks.best_left)),  # upper bound on the gain of any remaining question
                "logdet_gain_nats": picks.log_determinant_gain,
                "readings_of_the_pool": picks.rows_read / known.rows_ND.stored_rows,
            },
        )

    def gains(self, features: Features, rng: np.random.Generator) -> Gains:
        known = label_information(features, self.config)
        if isinstance(known.rows_ND, QuestionRows):
            return super().gains(features, rng)
        gain_N = np.log1p(variances(known.rows_ND, known.past_PD, known.regularizer))
        return Gains(gain_N, "gain of log-determinant in nats", known.diagnostics)
