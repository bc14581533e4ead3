"""A-, V- and G-optimal design: the batch that minimises the variance of the weights or of the predictions.

Reference: Chaloner, Verdinelli, "Bayesian Experimental Design: A Review", Statistical Science 10, 1995; Atkinson,
           Donev, Tobias, "Optimum Experimental Designs, with SAS", 2007, chapter 10.
Formula:   M = I/σ² + Σ_{past, batch} w δδᵀ, w = p(1 − p) or 1. a_opt: minimise tr M⁻¹. v_opt: minimise the mean (V), or
           with `criterion: worst` the largest (G), of zᵀM⁻¹z over the target rows z. Greedy, one pair at a time.
Unit:      variance of the weights (a_opt) or of the predicted margin (v_opt) that the pick removes.
Cost:      O(N D) per pick and O(N D²) every 64 picks, D at most N + P + M; `worst`: O(N M D) per pick at most, usually
           far less. The pool is held in memory.
"""

from __future__ import annotations

from typing import Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, model_validator

from duelist.acquisition.base import Acquisition, Gains
from duelist.acquisition.numerics.greedy import past_directions
from duelist.acquisition.numerics.linear_features import PriorConfig, bernoulli_information, field_of, rows_of
from duelist.acquisition.numerics.optimal_design import DesignProblem
from duelist.acquisition.numerics.question_information import matrices_of, past_rows, pool_targets, question_rows
from duelist.acquisition.numerics.question_rows import QuestionRows
from duelist.acquisition.numerics.question_variances import QuestionVariances
from duelist.acquisition.numerics.single_gains import trace_falls
from duelist.acquisition.numerics.trace_design import target_root
from duelist.acquisition.numerics.variance_search import LargestVariance, SumOfVariances, VarianceSearch
from duelist.types import Features, Selection

# Falls of the variance of questions that differ by less than this fraction of the largest count as equal.
TIE = 1e-9


class AOptConfig(PriorConfig):
    """Settings of A-optimal design."""

    weighted: bool = Field(
        default=True, description="w = p(1 − p), as in logistic regression (true), or 1, as in linear (false)."
    )


class VOptConfig(AOptConfig):
    """Settings of V- and G-optimal design."""

    criterion: Literal["average", "worst"] = Field(
        default="average", description="Minimise the mean (V), or the largest (G), prediction variance."
    )
    target: Literal["pool", "drawn"] = Field(
        default="pool", description="Minimise the variance of predictions on the candidates or on drawn target pairs."
    )

    @model_validator(mode="after")
    def _drawn_targets_are_gradients(self) -> VOptConfig:
        if self.target == "drawn" and self.features != "gradient":
            raise ValueError("`target: drawn` needs `features: gradient`, for drawn target pairs have no embeddings")
        return self


class _VarianceRule(Acquisition):
    """Common base of both rules; they differ only in `select`."""

    honours_cost = True
    selects_sets = True

    def __init__(self, config: AOptConfig) -> None:
        self._config = config

    @property
    def needs(self) -> frozenset[str]:
        margin = {"margin_N"} if self._config.weighted else set()
        return frozenset({field_of(self._config.features), "past", *margin})

    def _weight(self, features: Features) -> NDArray[np.float64]:
        if not self._config.weighted:
            return np.ones(features.n)
        assert features.margin_N is not None  # `choose` checked the needs
        return bernoulli_information(features.margin_N)

    def _questions(self, features: Features) -> tuple[QuestionRows, NDArray[np.float64], float]:
        """Return the rows of questions of several responses, the past directions, and the prior's precision."""
        past, which, weighted = features.past, self._config.features, self._config.weighted
        assert past is not None  # `choose` checked the needs
        rows = question_rows(features, which, matrices_of(features, weighted))
        prior = self._config.precision_for(rows.square_norm_N)
        past_XD = past_rows(past, which, matrices_of(past, weighted))
        return rows, past_directions(past_XD, prior), prior

    def _problem(
        self, features: Features, targets_MD: NDArray[np.float64]
    ) -> tuple[DesignProblem, NDArray[np.float64], int]:
        """Return pool and targets in the same coordinates, and the number of dimensions that no row reaches."""
        past = features.past
        assert past is not None  # `choose` checked the needs
        rows_ND = np.asarray(rows_of(features, self._config.features), np.float64)
        weight_N = self._weight(features)
        prior = self._config.precision(rows_ND, weight_N)
        # Targets are appended as rows, so that with many dimensions one rotation serves all of them.
        both = DesignProblem.of(
            np.concatenate([rows_ND, targets_MD]),
            np.concatenate([weight_N, np.ones(len(targets_MD))]),
            prior,
            rows_of(past, self._config.features),
            self._weight(past),
        )
        problem = DesignProblem(both.rows_ND[: features.n], both.past_PD, prior)
        return problem, both.rows_ND[features.n :], rows_ND.shape[1] - both.dimensions


class AOpt(_VarianceRule):
    """Greedy A-optimal design.

    Formula:   minimise tr M⁻¹.
    Unit:      variance of the weights removed by the pick.
    """

    def __init__(self, config: AOptConfig) -> None:
        super().__init__(config)
        self.config = config

    def select(self, features: Features, budget: int, rng: np.random.Generator) -> Selection:
        if features.place_NQ is not None:
            rows, past_XD, prior = self._questions(features)
            variances = QuestionVariances(rows, past_XD, prior, budget, TIE, None)
            picks, falls, gain = _picked(variances, budget, features.cost_N)
            diagnostics = {"prior_precision": prior, "trace_of_inverse": variances.value(), "gain_nats": gain}
            return Selection(picks, falls, _unit("variance of the weights removed", features), diagnostics)
        dimensions = rows_of(features, self.config.features).shape[1]
        problem, _, unreached = self._problem(features, np.empty((0, dimensions)))
        search = SumOfVariances(problem, None)
        picks, falls, gain = _picked(search, budget, features.cost_N)
        diagnostics = {
            "prior_precision": problem.prior,
            "trace_of_inverse": search.value() + unreached / problem.prior,
            "gain_nats": gain,
        }
        return Selection(picks, falls, _unit("variance of the weights removed", features), diagnostics)

    def gains(self, features: Features, rng: np.random.Generator) -> Gains:
        if features.place_NQ is not None:
            return super().gains(features, rng)
        dimensions = rows_of(features, self.config.features).shape[1]
        problem, _, _ = self._problem(features, np.empty((0, dimensions)))
        fall_N = trace_falls(problem.rows_ND, problem.past_PD, None, problem.prior)
        return Gains(fall_N, "variance of the weights removed", {"prior_precision": problem.prior})


class VOpt(_VarianceRule):
    """Greedy V-optimal design; G-optimal with `criterion: worst`.

    Formula:   minimise the mean (V) or the largest (G) zᵀM⁻¹z over the target rows z.
    Unit:      variance of the predicted margin removed by the pick.
    """

    def __init__(self, config: VOptConfig) -> None:
        super().__init__(config)
        self.config = config

    @property
    def needs(self) -> frozenset[str]:
        return super().needs | ({"target_MD"} if self.config.target == "drawn" else frozenset())

    @property
    def refused_for_sets(self) -> str | None:
        if self.config.criterion == "worst":
            return "`criterion: worst`, which is searched one row at a time (set it to `average`)"
        return None

    def select(self, features: Features, budget: int, rng: np.random.Generator) -> Selection:
        if features.place_NQ is not None:
            return self._select_questions(features, budget)
        is_mean = self.config.criterion == "average"
        problem, matter_MD, _ = self._problem(features, self._matter(features))
        search = SumOfVariances(problem, matter_MD) if is_mean else LargestVariance(problem, matter_MD)
        picks, falls, gain = _picked(search, budget, features.cost_N)
        what = "mean" if is_mean else "largest"
        diagnostics = {"prior_precision": problem.prior, f"{what}_variance": search.value(), "gain_nats": gain}
        return Selection(picks, falls, _unit(f"{what} prediction variance removed", features), diagnostics)

    def _matter(self, features: Features) -> NDArray[np.float64]:
        """Return the targets; for their mean, the root of their mean outer product: D rows at most."""
        if self.config.target == "drawn":
            targets_MD = np.asarray(features.target_MD, np.float64)
        else:
            targets_MD = np.asarray(rows_of(features, self.config.features), np.float64)
        return targets_MD if self.config.criterion == "worst" else target_root(targets_MD)

    def gains(self, features: Features, rng: np.random.Generator) -> Gains:
        if features.place_NQ is not None or self.config.criterion == "worst":
            return super().gains(features, rng)
        problem, matter_MD, _ = self._problem(features, self._matter(features))
        fall_N = trace_falls(problem.rows_ND, problem.past_PD, matter_MD, problem.prior)
        return Gains(fall_N, "mean prediction variance removed", {"prior_precision": problem.prior})

    def _select_questions(self, features: Features, budget: int) -> Selection:
        """Select among questions of several responses; targets are differences of two, drawn or of the pool."""
        rows, past_XD, prior = self._questions(features)
        targets_MD = pool_targets(rows) if self.config.target == "pool" else features.target_MD
        assert targets_MD is not None  # `choose` checked the needs
        variances = QuestionVariances(rows, past_XD, prior, budget, TIE, target_root(targets_MD))
        picks, falls, gain = _picked(variances, budget, features.cost_N)
        diagnostics = {"prior_precision": prior, "mean_variance": variances.value(), "gain_nats": gain}
        return Selection(picks, falls, _unit("mean prediction variance removed", features), diagnostics)


def _picked(
    search: VarianceSearch, budget: int, cost_N: NDArray[np.float64] | None
) -> tuple[NDArray[np.int64], NDArray[np.float64], float]:
    """Return the picks, their reductions (per cost), and the largest logdet M gain of any remaining pair, in nats."""
    indices_B, fall_B, gain = np.empty(budget, np.int64), np.empty(budget), 0.0
    for b in range(budget):
        indices_B[b], fall_B[b] = search.best(cost_N)
        gain = search.add(int(indices_B[b]))
    left = search.largest_gain()  # the last pick was the best by a different measure
    gain = gain if left is None else left
    return indices_B, fall_B, gain


def _unit(what: str, features: Features) -> str:
    return what if features.cost_N is None else f"{what} per second"
