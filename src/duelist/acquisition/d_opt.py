"""D-optimal rules: the batch whose labels carry the most information about a linear reward.

Reference: Shen, Sun, Ton, "Reviving the Classics: Active Reward Modeling in Large Language Model Alignment", 2025,
           arXiv 2502.04354, Section 3.1, equations (4) and (7); the optimizer `exchange`: Fedorov,
           "Theory of Optimal Experiments", 1972.
Formula:   maximise logdet(I/σ² + J_past + Σ_{i in batch} w_i δ_i δ_iᵀ);
           w_i = p_i(1 − p_i) in d_opt and pa_d_opt, 1 in xtx;
           J_past = Σ_past w δδᵀ in pa_d_opt, 0 in the others.
Unit:      w δᵀM⁻¹δ, the share of the information along δ that one label contributes.
Cost:      one-shot: one D x D matrix over the pool, O(N D²); greedy: few passes over the pool, O(B N D) at most;
           exchange: greedy, then O(N D) for each exchange tried.
"""

from __future__ import annotations

from abc import abstractmethod
from typing import Any, Literal, final

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from duelist.acquisition.base import Acquisition, Gains
from duelist.acquisition.numerics import question_design
from duelist.acquisition.numerics.design_bound import Certificate, certificate
from duelist.acquisition.numerics.factors import factored
from duelist.acquisition.numerics.linear_features import PriorConfig, bernoulli_information, field_of, rows_of
from duelist.acquisition.numerics.optimal_design import (
    Design,
    DesignProblem,
    exchange,
    greedy,
    leverages,
    one_shot,
)
from duelist.acquisition.numerics.question_information import matrices_of, past_rows, question_rows
from duelist.acquisition.numerics.single_gains import variances
from duelist.types import Features, Selection


class DOptConfig(PriorConfig):
    """Settings of the D-optimal rules."""

    optimizer: Literal["one-shot", "greedy", "exchange"] = Field(
        default="one-shot",
        description="one-shot: the paper's method, one Taylor step at the whole pool, then the highest scores; greedy: "
        "one pick at a time, closer to the optimum; exchange: greedy, then swaps while they improve the batch, closest "
        "and slowest.",
    )
    certificate: Certificate = Field(
        default="auto",
        description="Bound the gap to the best batch, of pairs only. true: always; false: never; auto: spend about one "
        "second.",
    )


class _DesignRule(Acquisition):
    """Maximisation of the log-determinant; subclasses define the weights and the contribution of past pairs."""

    selects_sets = True

    def __init__(self, config: DOptConfig) -> None:
        self.config = config
        # A swap keeps the number of pairs but not their cost.
        self.honours_cost = config.optimizer != "exchange"

    @property
    def refused_for_sets(self) -> str | None:
        if self.config.optimizer == "exchange":
            return "`optimizer: exchange`, which exchanges single rows (set it to `greedy`)"
        if self.config.certificate is True:
            return "`certificate: true`, a bound on pairs alone (set it to `auto` or false)"
        return None

    @abstractmethod
    def information(self, features: Features) -> NDArray[np.float64]:
        """Return w of each pair, `[N]`."""

    def select(self, features: Features, budget: int, rng: np.random.Generator) -> Selection:
        config, cost_N = self.config, features.cost_N if self.honours_cost else None
        if features.place_NQ is not None:
            return self._select_questions(features, budget)
        problem = self._problem(features)
        if config.optimizer == "one-shot":
            design = one_shot(problem, budget, cost_N)
        else:
            design = greedy(problem, budget, cost_N)
        if config.optimizer == "exchange":
            design = exchange(problem, design)
        diagnostics = {
            "prior_precision": problem.prior,
            "logdet_nats": design.log_determinant,
            "gain_nats": _best_left(problem, design, config.optimizer == "greedy" and cost_N is None),
            "exchanges": float(design.exchanges),
            # A batch selected per second is not meant to be the best of its size.
            **certificate(problem, design, False if cost_N is not None else config.certificate),
        }
        return self._selection(design, cost_N, "w δᵀM⁻¹δ (relative information)", diagnostics)

    def _problem(self, features: Features) -> DesignProblem:
        rows_ND, information_N = rows_of(features, self.config.features), self.information(features)
        past = features.past if "past" in self.needs else None
        of_past: tuple[Any, ...] = ()
        if past is not None:
            of_past = rows_of(past, self.config.features), self.information(past)
        return DesignProblem.of(rows_ND, information_N, self.config.precision(rows_ND, information_N), *of_past)

    def gains(self, features: Features, rng: np.random.Generator) -> Gains:
        if features.place_NQ is not None:
            return super().gains(features, rng)
        problem = self._problem(features)
        gain_N = np.log1p(variances(problem.rows_ND, problem.past_PD, problem.prior))
        return Gains(gain_N, "gain of log-determinant in nats", {"prior_precision": problem.prior})

    def _select_questions(self, features: Features, budget: int) -> Selection:
        """Select among questions of several responses: the rows of each are those of its answer's information."""
        which, weighted = self.config.features, "margin_N" in self.needs
        past = features.past if "past" in self.needs else None
        rows = question_rows(features, which, matrices_of(features, weighted))
        past_XD = np.empty((0, rows.shape[2]))
        if past is not None:
            past_XD = past_rows(past, which, matrices_of(past, weighted))
        prior = self.config.precision_for(rows.square_norm_N)
        greedily = self.config.optimizer == "greedy"
        search = question_design.greedy if greedily else question_design.one_shot
        design, gain = search(rows, past_XD, prior, budget, features.cost_N)
        diagnostics = {
            "prior_precision": prior,
            "logdet_nats": design.log_determinant,
            "gain_nats": gain,
            "exchanges": 0.0,
        }
        form = "det(I + U M⁻¹Uᵀ) − 1" if greedily else "tr(U M⁻¹Uᵀ)"
        return self._selection(design, features.cost_N, f"{form} (relative information)", diagnostics)

    def _selection(
        self, design: Design, cost_N: NDArray[np.float64] | None, unit: str, diagnostics: dict[str, float]
    ) -> Selection:
        scores_B = design.scores_B
        if cost_N is not None:
            gain_B = np.log1p(scores_B) if self.config.optimizer == "greedy" else scores_B
            scores_B, unit = gain_B / cost_N[design.indices_B], "nats of logdet per second"
        return Selection(design.indices_B, scores_B, unit, diagnostics)


def _best_left(problem: DesignProblem, design: Design, greedily: bool) -> float:
    """Return an upper bound on any remaining pair's gain, in nats: the last greedy pick's, else the largest of them."""
    left_N = np.ones(len(problem.rows_ND), np.bool_)
    left_N[design.indices_B] = False
    if not left_N.any():
        return design.log_determinant - problem.log_determinant(design.indices_B[:-1])
    if greedily:
        return float(np.log1p(design.scores_B[-1]))
    lower_DD = factored(problem.information((~left_N).astype(np.float64)))
    return float(np.log1p(leverages(problem.rows_ND[left_N], lower_DD).max()))


@final
class DOpt(_DesignRule):
    """D-optimal design for logistic regression, without past pairs.

    Formula:   maximise logdet(I/σ² + Σ_{i in batch} p_i(1 − p_i) δ_i δ_iᵀ).
    """

    @property
    def needs(self) -> frozenset[str]:
        return frozenset({field_of(self.config.features), "margin_N"})

    def information(self, features: Features) -> NDArray[np.float64]:
        assert features.margin_N is not None  # `choose` checked the needs
        return bernoulli_information(features.margin_N)


@final
class PastAwareDOpt(_DesignRule):
    """D-optimal design for logistic regression that includes the information from past pairs.

    Formula:   maximise logdet(I/σ² + Σ_past p(1 − p) δδᵀ + Σ_{i in batch} p_i(1 − p_i) δ_i δ_iᵀ).
    """

    @property
    def needs(self) -> frozenset[str]:
        return frozenset({field_of(self.config.features), "margin_N", "past"})

    def information(self, features: Features) -> NDArray[np.float64]:
        assert features.margin_N is not None  # `choose` checked the needs
        return bernoulli_information(features.margin_N)


@final
class XtX(_DesignRule):
    """det(XᵀX): D-optimal design for linear regression, where every label carries the same information.

    Formula:   maximise logdet(I/σ² + Σ_{i in batch} δ_i δ_iᵀ).
    """

    @property
    def needs(self) -> frozenset[str]:
        return frozenset({field_of(self.config.features)})

    def information(self, features: Features) -> NDArray[np.float64]:
        return np.ones(features.n)
