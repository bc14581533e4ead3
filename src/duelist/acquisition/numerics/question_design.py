"""D-optimal design on questions of several rows: the one-shot step, and the log-determinant of a batch."""

from __future__ import annotations

import math

import numpy as np
import scipy
from numpy.typing import NDArray

from duelist.acquisition.numerics.factors import factored
from duelist.acquisition.numerics.greedy import past_directions, pick_greedily
from duelist.acquisition.numerics.optimal_design import Design, first_of_highest, log_determinant
from duelist.acquisition.numerics.question_rows import QuestionRows, log_determinants
from duelist.errors import BudgetError

Floats = NDArray[np.float64]


def greedy(
    rows: QuestionRows, past_XD: Floats, prior: float, budget: int, cost_N: Floats | None = None
) -> tuple[Design, float]:
    """Pick questions one at a time, each with the largest gain of logdet M (per cost).

    Returns:
        The batch, with det(I + U M⁻¹Uᵀ) − 1 of each pick as its score, which is w δᵀM⁻¹δ of a pair; and an upper bound
        on the gain of any remaining question, in nats.

    Raises:
        BudgetError: if the budget is negative or exceeds the pool.
    """
    picks = pick_greedily(rows, past_XD, prior, budget, cost_N=cost_N)
    reached = batch_log_determinant(rows, past_XD, prior, picks.indices_B)
    return Design(picks.indices_B, picks.square_B, reached), float(np.log1p(picks.best_left))


def one_shot(
    rows: QuestionRows, past_XD: Floats, prior: float, budget: int, cost_N: Floats | None = None
) -> tuple[Design, float]:
    """Select the questions of largest ∂logdet/∂w_i at w = 1, which is tr(U M⁻¹Uᵀ) with M over the whole pool.

    The step of `optimal_design.one_shot`, for several rows. Of equal questions, the first is taken.

    Returns:
        The batch, and the largest gain of logdet M of any remaining question, given the batch, in nats.

    Raises:
        BudgetError: if the budget is negative or exceeds the pool.
    """
    if not 0 <= budget <= len(rows):
        raise BudgetError(
            f"`0 <= budget <= questions` must hold, but got {budget} and {len(rows)} questions: lower the budget."
        )
    response_RD = np.asarray(rows.responses, np.float64)
    if len(response_RD) + len(past_XD) < response_RD.shape[1]:  # into the space that the rows span
        rotated = np.asarray(np.linalg.qr(np.concatenate([response_RD, past_XD]).T, mode="r")).T
        response_RD, past_here_XD = rotated[: len(response_RD)], rotated[len(response_RD) :]
    else:
        past_here_XD = past_XD
    here = rows.of_responses(response_RD)
    matrix_DD = here.information() + past_here_XD.T @ past_here_XD
    matrix_DD.flat[:: len(matrix_DD) + 1] += prior
    half_RD = scipy.linalg.blas.dtrsm(1.0, factored(matrix_DD), response_RD.T, lower=1).T
    score_N = rows.of_responses(half_RD).square_norm_N
    indices_B = first_of_highest(score_N if cost_N is None else score_N / cost_N, budget)
    reached = batch_log_determinant(rows, past_XD, prior, indices_B)
    left_N = np.setdiff1d(np.arange(len(rows)), indices_B)
    if len(left_N):
        known_XD = np.concatenate([past_XD, rows.stacked(indices_B)])
        residual = rows.residual_gram(past_directions(known_XD, prior))
        best_left = float(log_determinants(rows.squares(residual, left_N) / prior).max())
    else:
        best_left = reached - batch_log_determinant(rows, past_XD, prior, indices_B[:-1])
    return Design(indices_B, score_N[indices_B], reached), best_left


def batch_log_determinant(rows: QuestionRows, past_XD: Floats, prior: float, indices_B: NDArray[np.int64]) -> float:
    """Return logdet(I/σ² + J_past + Σ_{i in batch} UᵢᵀUᵢ), in nats."""
    known_XD = np.concatenate([past_XD, rows.stacked(indices_B)])
    x, d = known_XD.shape
    small: Floats = known_XD @ known_XD.T if x < d else known_XD.T @ known_XD
    small.flat[:: len(small) + 1] += prior
    return log_determinant(factored(small)) + float(max(0, d - x) * math.log(prior))
