"""Information that labels carry about the weights: the shared part of `information` and `policy_gap`.

A label of a pair is a Bernoulli draw with logit ρ_θ, the margin. Its Fisher information in θ is p(1 − p)·φφᵀ, with
p = σ(ρ_θ) and φ = ∇ρ_θ. So a pair is the row √(p(1 − p))·φ, and the information matrix of all asked pairs is
I = λI + Σ of the rows' outer products. A question of k responses has k − 1 rows (see `question_rows.py`).

With a temperature the logit is ρ/τ, p = σ(ρ/τ), and the row √(p(1 − p))·φ/τ. A relative λ follows it, so that τ then
changes p alone; beside an absolute λ the factor 1/τ² counts.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from duelist.acquisition.numerics.calibration import fit_temperature
from duelist.acquisition.numerics.evidence import fit_precision
from duelist.acquisition.numerics.linear_features import (
    FeatureName,
    RidgeConfig,
    bernoulli_information,
    field_of,
    rows_of,
)
from duelist.acquisition.numerics.logistic_normal import averaged_information
from duelist.acquisition.numerics.pool_rows import PoolRows, as_rows, row_square_norms
from duelist.acquisition.numerics.question_information import matrices_of, past_rows, question_rows
from duelist.acquisition.numerics.question_rows import QuestionRows
from duelist.acquisition.numerics.single_gains import variances
from duelist.acquisition.numerics.stage_calibration import fit_choices
from duelist.types import Features


class LabelInformationConfig(RidgeConfig):
    """Settings of the rules that weight pairs by the information in their labels."""

    lambda_: float = Field(default=0.01, gt=0, alias="lambda", description="λ in I = λI + Σ p(1 − p)·φφᵀ.")
    lambda_relative: bool = Field(
        default=True,
        description="λ is a multiple of the pool's mean p(1 − p)·|φ|² (true), or an absolute number (false).",
    )
    features: FeatureName = Field(
        default="gradient", description="φ: the gradient of the margin, or the difference of frozen embeddings."
    )
    calibrate: bool = Field(
        default=True,
        description="Fit the temperature τ of p = σ(ρ/τ) to the study's labels; false: use `temperature`.",
    )
    temperature: float = Field(default=1.0, gt=0, description="τ, if `calibrate` is false.")
    lambda_fit: Literal["none", "evidence"] = Field(
        default="none",
        description="evidence: the λ of largest marginal likelihood of the labels so far (Laplace), with `lambda` as "
        "the centre of a weak prior; of pairs only. none: `lambda` itself.",
    )
    average: bool = Field(
        default=False,
        description="Average p(1 − p) of a candidate over the posterior of its margin (true), or take it at the "
        "model's own margin (false); of pairs only.",
    )
    stage_scales: Literal["fitted", "equal"] = Field(
        default="fitted",
        description="Of rankings, with `calibrate`: fit a scale for each stage too, because people may choose among "
        "the last responses with less care; equal: every stage has the scale of the first.",
    )

    @property
    def field(self) -> str:
        """Return the field of `Features` that contains φ."""
        return field_of(self.features)

    @property
    def needs(self) -> frozenset[str]:
        """Return the fields that `label_information` reads."""
        of_labels = {"votes_N2"} if self.calibrate or self.lambda_fit == "evidence" else set()
        calibration = {"asked_margin_N"} if self.calibrate else set()
        return frozenset({"margin_N", self.field, "past"} | of_labels | calibration)

    @property
    def refused_for_sets(self) -> str | None:
        """Return which setting is for pairs only, and the remedy; None if none is."""
        if self.lambda_fit == "evidence":
            return "`lambda_fit: evidence`, the marginal likelihood of labels of pairs (set it to none)"
        return "`average: true`, an average over the margin of a pair (set it to false)" if self.average else None


@dataclass(frozen=True)
class LabelInformation:
    """Information carried by the label of each pair.

    Attributes:
        rows_ND: √(p(1 − p))·φ/τ of the candidates, scaled when they are read; or the rows of larger questions.
        past_PD: √(p(1 − p))·φ/τ of the past pairs; the rows of past questions.
        square_norm_N: p(1 − p)·|φ|²/τ² of the candidates: the trace of their information.
        regularizer: λ, absolute.
        temperature: τ.
        diagnostics: the numbers to report.
    """

    rows_ND: PoolRows | QuestionRows
    past_PD: NDArray[np.float64]
    square_norm_N: NDArray[np.float64]
    regularizer: float
    temperature: float
    diagnostics: dict[str, float]


def label_information(features: Features, config: LabelInformationConfig) -> LabelInformation:
    """Weight candidates and past questions by the information of their answers, with the current model's rewards.

    Args:
        features: N candidates and P past pairs, with the fields named by `config.needs`.
        config: the settings.
    """
    if features.place_NQ is not None:
        return _of_questions(features, config)
    past = features.past
    # `choose` checked the needs
    assert past is not None and features.margin_N is not None and past.margin_N is not None
    phi_ND, phi_PD = rows_of(features, config.features), rows_of(past, config.features)
    temperature = config.temperature
    if config.calibrate:
        assert past.asked_margin_N is not None and past.votes_N2 is not None
        temperature = fit_temperature(past.asked_margin_N, past.votes_N2)
    logit_N = features.margin_N / temperature
    weight_N = bernoulli_information(logit_N)
    weight_P = bernoulli_information(past.margin_N / temperature)
    row_PD = np.asarray(phi_PD, np.float64) / temperature  # gradients of the logits
    past_PD = np.sqrt(weight_P)[:, None] * row_PD
    square_N = row_square_norms(phi_ND) / temperature**2
    regularizer = config.regularizer(weight_N * square_N)
    if config.lambda_fit == "evidence":
        assert past.votes_N2 is not None
        regularizer = fit_precision(row_PD, past.votes_N2, regularizer)
    if config.average:
        all_N = np.full(features.n, 1.0 / temperature)
        weight_N = averaged_information(logit_N, variances(as_rows(phi_ND).scaled(all_N), past_PD, regularizer))
    square_norm_N = weight_N * square_N
    return LabelInformation(
        as_rows(phi_ND).scaled(np.sqrt(weight_N) / temperature),
        past_PD,
        square_norm_N,
        regularizer,
        temperature,
        {
            "lambda": regularizer,
            "mean_square_norm": float(square_norm_N.mean()),
            "temperature": temperature,
            # The mean p(1 − p): 0.25 while all margins are 0, where the weights change nothing.
            "mean_weight": float(weight_N.mean()),
        },
    )


def _of_questions(features: Features, config: LabelInformationConfig) -> LabelInformation:
    past = features.past
    assert past is not None  # `choose` checked the needs
    temperature, scale_X = config.temperature, np.ones(1)
    if config.calibrate:
        temperature, scale_X = fit_choices(past, equal=config.stage_scales == "equal")
    matrix_NQQ = matrices_of(features, True, temperature, scale_X)
    rows = question_rows(features, config.features, matrix_NQQ / temperature**2)
    past_XD = past_rows(past, config.features, matrices_of(past, True, temperature, scale_X) / temperature**2)
    regularizer = config.regularizer(rows.square_norm_N)
    trace_N, unweighted_N = (np.trace(m, axis1=1, axis2=2) for m in (matrix_NQQ, matrices_of(features, False)))
    return LabelInformation(
        rows,
        past_XD,
        rows.square_norm_N,
        regularizer,
        temperature,
        {
            "lambda": regularizer,
            "mean_square_norm": float(rows.square_norm_N.mean()),
            "temperature": temperature,
            # 0.25 while all rewards are equal and so are the scales: the weights then change nothing.
            "mean_weight": float((trace_N / unweighted_N).mean()),
            **{f"scale_of_stage_{j}": float(scale_X[j - 1]) for j in range(2, len(scale_X) + 1)},
        },
    )
