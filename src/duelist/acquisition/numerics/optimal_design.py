"""D-optimal design: the batch that makes the posterior of a linear or logistic model narrowest.

References: Shen, Sun, Ton, "Reviving the Classics: Active Reward Modeling in Large Language Model Alignment", 2025,
            arXiv 2502.04354 (equation (4), and the one-shot step, equations (8) to (10));
            Fedorov, "Theory of Optimal Experiments", 1972 (the exchange).
Formula:    maximise logdet(I/σ² + J_past + Σ_{i in batch} w_i δ_i δ_iᵀ),  w_i = p_i(1 − p_i),  |batch| = B.

There are three algorithms, from fastest to best: `one_shot`, `greedy`, `exchange`. `design_bound.upper_bound` bounds
the gap between a batch and the best one. All arithmetic is in float64 with Cholesky factors: no inverse is formed.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import scipy
from numpy.typing import NDArray

from duelist.acquisition.numerics.factors import factored
from duelist.acquisition.numerics.greedy import TIE_TOLERANCE, pick_greedily
from duelist.errors import BudgetError, DuelistError

Floats = NDArray[np.float64]

# Number of batch members compared with the whole pool at a time, in one matrix product.
EXCHANGE_BLOCK = 32


@dataclass(frozen=True)
class DesignProblem:
    """A pool to select from, with each row scaled by the root of its information: √w δ. Create it with `of`.

    Attributes:
        rows_ND: the candidates.
        past_PD: the rows that form J_past.
        prior: 1/σ².
        constant: contribution of the dimensions that no row reaches (excluded from `rows_ND`) to logdet, in nats.
    """

    rows_ND: Floats
    past_PD: Floats
    prior: float
    constant: float = 0.0

    @staticmethod
    def of(
        delta_ND: NDArray[Any],
        information_N: NDArray[Any],
        prior: float,
        past_delta_PD: NDArray[Any] | None = None,
        past_information_P: NDArray[Any] | None = None,
    ) -> DesignProblem:
        """Return the problem of selecting among `delta_ND`, given the past.

        If there are fewer rows than dimensions, the rows are rotated into the space they span. The cost of all later
        steps then depends on the dimensions of that space (the dual form), and the result is the same.

        Args:
            delta_ND: feature differences, one row each.
            information_N: w, the information of a label, p(1 − p) in logistic regression; not negative.
            prior: the prior's precision 1/σ², positive.
            past_delta_PD: the feature differences of past pairs, for past-aware designs.
            past_information_P: w of the past pairs.

        Raises:
            DuelistError: if the prior is not positive, an information is negative or not finite, or shapes differ.
        """
        if not prior > 0:
            raise DuelistError(f"The prior's precision 1/σ² must be positive, but is {prior}: give a finite σ².")
        rows_ND = _scaled(delta_ND, information_N)
        past_PD = np.empty((0, rows_ND.shape[1]))
        if past_delta_PD is not None:
            past = np.ones(len(past_delta_PD)) if past_information_P is None else past_information_P
            past_PD = _scaled(past_delta_PD, past)
        n, d = rows_ND.shape
        reached = min(d, n + len(past_PD))
        if reached < d:
            rotated = np.asarray(np.linalg.qr(np.concatenate([rows_ND, past_PD]).T, mode="r")).T
            rows_ND, past_PD = np.ascontiguousarray(rotated[:n]), np.ascontiguousarray(rotated[n:])
        return DesignProblem(rows_ND, past_PD, prior, (d - reached) * float(np.log(prior)))

    @property
    def dimensions(self) -> int:
        """Return the number of dimensions that the rows can reach: min(D, N + P)."""
        return int(self.rows_ND.shape[1])

    def check_budget(self, budget: int) -> None:
        """Check that `0 <= budget <= N`.

        Raises:
            BudgetError: if it does not hold.
        """
        n = len(self.rows_ND)
        if not 0 <= budget <= n:
            raise BudgetError(f"`0 <= budget <= rows` must hold, but got {budget} and {n} rows: lower the budget.")

    def information(self, weight_N: Floats) -> Floats:
        """Return I/σ² + J_past + Σ weight_i w_i δ_i δ_iᵀ."""
        some_XD = self.rows_ND[weight_N > 0] * np.sqrt(weight_N[weight_N > 0])[:, None]
        matrix_DD = some_XD.T @ some_XD + self.past_PD.T @ self.past_PD
        matrix_DD.flat[:: len(matrix_DD) + 1] += self.prior
        return np.asarray(matrix_DD)

    def log_determinant(self, indices_B: NDArray[np.int64]) -> float:
        """Return the objective of a batch, in nats."""
        weight_N = np.zeros(len(self.rows_ND))
        weight_N[indices_B] = 1.0
        return self.constant + log_determinant(factored(self.information(weight_N)))


@dataclass(frozen=True)
class Design:
    """A batch.

    Attributes:
        indices_B: positions in the pool, in pick order; for one-shot by falling score, for exchange in the order of
            the start.
        scores_B: w δᵀM⁻¹δ, with M over the whole pool (one-shot), the picks so far (greedy) or the batch (exchange).
        log_determinant: the objective of the batch, in nats.
        exchanges: number of exchanges made.
    """

    indices_B: NDArray[np.int64]
    scores_B: Floats
    log_determinant: float
    exchanges: int = 0


def one_shot(problem: DesignProblem, budget: int, cost_N: Floats | None = None) -> Design:
    """Select the B rows of largest ∂logdet/∂w_i at w = 1, with M over the whole pool: the paper's Taylor step.

    The step is fast but ignores the overlap between picks: similar rows are picked in the same batch. Of equal rows,
    the first is taken. With `cost_N` (positive), select the rows of largest derivative per cost.

    Raises:
        BudgetError: if the budget is negative or exceeds the pool.
    """
    problem.check_budget(budget)
    score_N = leverages(problem.rows_ND, factored(problem.information(np.ones(len(problem.rows_ND)))))
    indices_B = first_of_highest(score_N if cost_N is None else score_N / cost_N, budget)
    return Design(indices_B, score_N[indices_B], problem.log_determinant(indices_B))


def first_of_highest(score_N: Floats, budget: int) -> NDArray[np.int64]:
    """Return the positions of the `budget` highest scores; scores that differ only by rounding count as equal."""
    step = TIE_TOLERANCE[np.dtype(np.float64)] * np.abs(score_N).max(initial=0.0)
    return np.argsort(-np.round(score_N / step) if step > 0 else -score_N, kind="stable")[:budget]


def greedy(problem: DesignProblem, budget: int, cost_N: Floats | None = None) -> Design:
    """Repeatedly pick the row that raises the log-determinant most, or most per cost with `cost_N`.

    The gain over the empty batch is at least 1 − 1/e of the best batch's gain.

    Raises:
        BudgetError: if the budget is negative or exceeds the pool.
    """
    picks = pick_greedily(problem.rows_ND, problem.past_PD, problem.prior, budget, cost_N=cost_N)
    return Design(picks.indices_B, picks.square_B, problem.log_determinant(picks.indices_B))


def exchange(problem: DesignProblem, start: Design, tolerance: float = 1e-4, max_exchanges: int = 10_000) -> Design:
    """Improve a batch by Fedorov exchange: replace members by outside rows while that raises the log-determinant.

    Members are processed in blocks. For each block, make the best exchange with the whole pool until none gains more
    than `tolerance`. Stop when no exchange of any member does, which is a local optimum, or after `max_exchanges`.
    Replacing i by j multiplies the determinant by (1 + v_j)(1 − v_i) + c_ij², with v_i = x_iᵀM⁻¹x_i, c_ij = x_iᵀM⁻¹x_j.

    Args:
        problem: the pool and the prior.
        start: the batch to improve, e.g. that of `greedy`. The result is never worse.
        tolerance: smallest gain of an exchange, in nats.
        max_exchanges: maximum number of exchanges.

    Returns:
        The improved batch; each new member takes the position of the member it replaced.
    """
    x_ND, n = problem.rows_ND, len(problem.rows_ND)
    members_B = start.indices_B.copy()
    inside_N = np.isin(np.arange(n), members_B)
    matrix_DD = problem.information(inside_N.astype(np.float64))
    lower_DD = factored(matrix_DD)
    reached = log_determinant(lower_DD)
    v_N = leverages(x_ND, lower_DD)
    starts = range(0, len(members_B), EXCHANGE_BLOCK)
    exchanges = at = unchanged = 0
    while unchanged < len(starts) and exchanges < max_exchanges and len(members_B) < n:
        block = slice(starts[at], starts[at] + EXCHANGE_BLOCK)
        at, unchanged = (at + 1) % len(starts), unchanged + 1
        c_NX = x_ND @ scipy.linalg.cho_solve((lower_DD, True), x_ND[members_B[block]].T)
        while exchanges < max_exchanges:
            factor_NX = (1.0 + v_N)[:, None] * (1.0 - v_N[members_B[block]]) + c_NX**2
            factor_NX[inside_N] = 0.0
            j, m = divmod(int(factor_NX.argmax()), factor_NX.shape[1])
            if np.log(factor_NX[j, m]) <= tolerance:
                break
            i = int(members_B[block][m])
            changed_DD = matrix_DD + np.outer(x_ND[j], x_ND[j]) - np.outer(x_ND[i], x_ND[i])
            changed_lower_DD = factored(changed_DD)
            if log_determinant(changed_lower_DD) <= reached + tolerance / 2:
                break  # the gain was rounding
            # M loses x_i and gains x_j: the same two rank-one updates apply to v and c.
            without_N = c_NX[:, m] / np.sqrt(1.0 - v_N[i])
            with_N = x_ND @ scipy.linalg.cho_solve((lower_DD, True), x_ND[j]) + without_N * without_N[j]
            with_N /= np.sqrt(1.0 + v_N[j] + without_N[j] ** 2)
            v_N += without_N**2 - with_N**2
            inside_N[i], inside_N[j] = False, True
            c_NX += np.outer(without_N, without_N[members_B[block]]) - np.outer(with_N, with_N[members_B[block]])
            members_B[block.start + m] = j
            matrix_DD, lower_DD, reached = changed_DD, changed_lower_DD, log_determinant(changed_lower_DD)
            c_NX[:, m] = x_ND @ scipy.linalg.cho_solve((lower_DD, True), x_ND[j])
            exchanges, unchanged = exchanges + 1, 0
        if at == 0:
            v_N = leverages(x_ND, lower_DD)  # recomputed once per sweep, so that rounding does not accumulate
    return Design(members_B, v_N[members_B], problem.log_determinant(members_B), exchanges)


def _scaled(delta_ND: NDArray[Any], information_N: NDArray[Any]) -> Floats:
    delta_ND, information_N = np.asarray(delta_ND, np.float64), np.asarray(information_N, np.float64)
    if delta_ND.ndim != 2 or information_N.shape != delta_ND.shape[:1]:
        raise DuelistError(
            f"There must be one information a row, but rows have shape {delta_ND.shape} and informations "
            f"{information_N.shape}: give `[N, D]` and `[N]`."
        )
    if not (np.isfinite(information_N) & (information_N >= 0)).all():
        row = int(np.flatnonzero(~(np.isfinite(information_N) & (information_N >= 0)))[0])
        raise DuelistError(f"Information must be finite and not negative, but row {row} has {information_N[row]}.")
    return np.asarray(delta_ND * np.sqrt(information_N)[:, None])


def factored_past(problem: DesignProblem) -> Floats:
    """Return the lower factor L of I/σ² + J_past, computed from the rows themselves: it works for any small prior."""
    prior_DD = np.sqrt(problem.prior) * np.eye(problem.dimensions)
    return np.asarray(np.linalg.qr(np.concatenate([problem.past_PD, prior_DD]), mode="r")).T


def log_determinant(lower_DD: Floats) -> float:
    """Return logdet(L Lᵀ), in nats."""
    return 2.0 * float(np.log(np.diag(lower_DD)).sum())


def leverages(rows_ND: Floats, lower_DD: Floats) -> Floats:
    """Return xᵀ(L Lᵀ)⁻¹x of every row."""
    half_ND = scipy.linalg.blas.dtrsm(1.0, lower_DD, rows_ND.T, lower=1).T
    return np.asarray(np.vecdot(half_ND, half_ND))
