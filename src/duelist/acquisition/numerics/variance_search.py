"""Engine of A-, V- and G-optimal design: repeatedly pick the row that lowers the target variances most.

With M the information so far, a row x scaled by its root weight changes M⁻¹ to M⁻¹ − s sᵀ, s = M⁻¹x / √(1 + xᵀM⁻¹x).
So the variance zᵀM⁻¹z of a prediction z falls by (z·s)². The sum of the variances tr(F M⁻¹ Fᵀ), with the target
predictions as the rows of F, falls by

    |F M⁻¹ x|² / (1 + xᵀM⁻¹x).

These numbers are stored for every row and updated by one or two products with the pool per pick. Every REFRESH picks,
they are recomputed from a Cholesky factor of M, so that rounding does not accumulate. No inverse is formed.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Protocol, final

import numpy as np
import scipy
from numpy.typing import NDArray

from duelist.acquisition.numerics.factors import factored
from duelist.acquisition.numerics.greedy import TIE_TOLERANCE
from duelist.acquisition.numerics.optimal_design import DesignProblem, Floats

REFRESH = 64
# Number of the widest predictions that are evaluated first, and its growth factor if they do not decide.
WIDEST, WIDER = 8, 4
# Numbers held at a time when a block of the pool is multiplied: 32 MiB.
BLOCK_NUMBERS = 2**22


class VarianceSearch(Protocol):
    """One greedy run over a pool's rows."""

    def best(self, cost_N: Floats | None) -> tuple[int, float]:
        """Return the remaining row that lowers the criterion most (per cost), and the reduction."""

    def add(self, row: int) -> float:
        """Add a row to M, and return log(1 + xᵀM⁻¹x), its gain of logdet M, in nats."""

    def value(self) -> float:
        """Return the current value of the criterion."""

    def largest_gain(self) -> float | None:
        """Return the largest gain of logdet M of any remaining row, in nats; None if no row remains."""


@final
class SumOfVariances:
    """The criterion tr(F M⁻¹ Fᵀ): A-optimal for F = I, V-optimal for predictions F."""

    def __init__(self, problem: DesignProblem, matter_XD: Floats | None) -> None:
        """Start from the prior and the past.

        Args:
            problem: the candidates, scaled by the roots of their weights, the past and the prior.
            matter_XD: the target predictions; None for every axis (the trace of M⁻¹).
        """
        self._pool = _PoolVariances(problem)
        self._matter_XD = matter_XD
        self._score_afresh()

    def best(self, cost_N: Floats | None) -> tuple[int, float]:
        """Return the row that lowers the sum most (per cost), and the reduction."""
        fall_N = np.maximum(self._effect_N, 0.0) / (1.0 + self._pool.variance_N)
        return self._pool.first_best(fall_N if cost_N is None else fall_N / cost_N)

    def add(self, row: int) -> float:
        """Add a row to M, and return its gain of logdet M, in nats."""
        step_D = self._pool.step(row)
        matter_D = step_D if self._matter_XD is None else self._matter_XD.T @ (self._matter_XD @ step_D)
        both_D2 = np.stack([step_D, self._pool.solve(matter_D[:, None])[:, 0]], axis=1)
        along_N, across_N = (self._pool.rows_ND @ both_D2).T  # one pass over the pool
        gain, refreshed = self._pool.add(row, step_D, along_N)
        if refreshed:
            self._score_afresh()
        else:
            self._effect_N += along_N * (along_N * float(step_D @ matter_D) - 2.0 * across_N)
        return gain

    def largest_gain(self) -> float | None:
        """Return the largest gain of logdet M of any remaining row, in nats; None if no row remains."""
        return self._pool.largest_gain()

    def value(self) -> float:
        """Return tr(F M⁻¹ Fᵀ)."""
        if self._matter_XD is None:
            return float(np.trace(self._pool.solve(np.eye(self._pool.rows_ND.shape[1]))))
        return float(np.einsum("fd,df->", self._matter_XD, self._pool.solve(self._matter_XD.T)))

    def _score_afresh(self) -> None:
        self._effect_N = np.empty(len(self._pool.rows_ND))
        wide = 1 if self._matter_XD is None else len(self._matter_XD)
        for block, solved_DN in self._pool.solved_blocks(wide):
            effect_XN = solved_DN if self._matter_XD is None else self._matter_XD @ solved_DN
            self._effect_N[block] = np.einsum("fn,fn->n", effect_XN, effect_XN)


@final
class LargestVariance:
    """The criterion max zᵀM⁻¹z over some predictions z: G-optimal."""

    def __init__(self, problem: DesignProblem, matter_MD: Floats) -> None:
        """Start from the prior and the past.

        Args:
            problem: the candidates, scaled by the roots of their weights, the past and the prior.
            matter_MD: the predictions, M >= 1.
        """
        self._pool = _PoolVariances(problem)
        self._matter_MD = matter_MD
        self._score_afresh()

    def best(self, cost_N: Floats | None) -> tuple[int, float]:
        """Return the row that lowers the largest variance most (per cost), and the reduction.

        A row's reduction over the few widest predictions is an upper bound on its reduction over all of them. If no row
        can bring these predictions below the next widest one, the bounds are exact. So usually few are evaluated.
        """
        order_M = np.argsort(-self._variance_M, kind="stable")
        sorted_M = self._variance_M[order_M]
        size = WIDEST
        while True:
            fall_N = self._fall(order_M[:size])
            if size >= len(order_M) or sorted_M[size] <= sorted_M[0] - fall_N.max():
                return self._pool.first_best(fall_N if cost_N is None else fall_N / cost_N)
            size *= WIDER

    def add(self, row: int) -> float:
        """Add a row to M, and return its gain of logdet M, in nats."""
        step_D = self._pool.step(row)
        gain, refreshed = self._pool.add(row, step_D, self._pool.rows_ND @ step_D)
        if refreshed:
            self._score_afresh()
        else:
            self._variance_M -= (self._matter_MD @ step_D) ** 2
        return gain

    def largest_gain(self) -> float | None:
        """Return the largest gain of logdet M of any remaining row, in nats; None if no row remains."""
        return self._pool.largest_gain()

    def value(self) -> float:
        """Return the largest variance."""
        return float(self._variance_M.max())

    def _fall(self, some: NDArray[np.int64]) -> Floats:
        """Return each row's reduction of the largest variance, if only some predictions count."""
        solved_DM = self._pool.solve(self._matter_MD[some].T)
        largest, fall_N = self.value(), np.empty(len(self._pool.rows_ND))
        for block in self._pool.blocks(len(some)):
            covariance_NM = self._pool.rows_ND[block] @ solved_DM
            lowered_NM = covariance_NM**2 / (1.0 + self._pool.variance_N[block, None])
            fall_N[block] = largest - (self._variance_M[some] - lowered_NM).max(axis=1)
        return np.maximum(fall_N, 0.0)

    def _score_afresh(self) -> None:
        self._variance_M = np.einsum("md,dm->m", self._matter_MD, self._pool.solve(self._matter_MD.T))


@final
class _PoolVariances:
    """The matrix M, and xᵀM⁻¹x of every row of the pool."""

    def __init__(self, problem: DesignProblem) -> None:
        self.rows_ND = problem.rows_ND
        self.variance_N = np.empty(len(problem.rows_ND))
        self._matrix_DD = problem.information(np.zeros(len(problem.rows_ND)))
        self._left_N = np.ones(len(problem.rows_ND), np.bool_)
        self._refresh()

    def step(self, row: int) -> Floats:
        """Return s: adding the row changes M⁻¹ to M⁻¹ − s sᵀ."""
        row_D = self.rows_ND[row]
        along_D = self.solve(row_D[:, None])[:, 0]
        return np.asarray(along_D / np.sqrt(1.0 + row_D @ along_D))

    def add(self, row: int, step_D: Floats, along_N: Floats) -> tuple[float, bool]:
        """Add a row to M, given its step and all rows' x·s; return log(1 + xᵀM⁻¹x), and whether M was factored."""
        gain = float(np.log1p(self.variance_N[row]))
        self.variance_N -= along_N**2
        self._matrix_DD += np.outer(self.rows_ND[row], self.rows_ND[row])
        self._left_N[row] = False
        self._recent_XD.append(step_D)
        if refreshed := len(self._recent_XD) >= REFRESH:
            self._refresh()
        return gain, refreshed

    def solve(self, columns_DX: Floats) -> Floats:
        """Return M⁻¹ times some columns."""
        solved_DX = np.asarray(scipy.linalg.cho_solve((self._lower_DD, True), columns_DX, check_finite=False))
        if self._recent_XD:
            steps_XD = np.stack(self._recent_XD)
            solved_DX = solved_DX - steps_XD.T @ (steps_XD @ columns_DX)
        return solved_DX

    def first_best(self, worth_N: Floats) -> tuple[int, float]:
        """Return the first remaining row of largest worth, and its worth."""
        left_N = np.where(self._left_N, worth_N, -np.inf)
        top = float(left_N.max())
        best = int(np.argmax(left_N >= top - TIE_TOLERANCE[np.dtype(np.float64)] * abs(top)))
        return best, float(left_N[best])

    def largest_gain(self) -> float | None:
        """Return the largest gain of logdet M of any remaining row, in nats; None if no row remains."""
        left_N = self.variance_N[self._left_N]
        return float(np.log1p(max(left_N.max(), 0.0))) if len(left_N) else None

    def blocks(self, wide: int) -> Iterator[slice]:
        """Return the pool as blocks of rows, for which `wide` numbers per row fit in memory."""
        step = max(1, BLOCK_NUMBERS // max(1, wide))
        return (slice(start, start + step) for start in range(0, len(self.rows_ND), step))

    def solved_blocks(self, wide: int) -> Iterator[tuple[slice, Floats]]:
        """Yield M⁻¹ times every row, as columns, block by block."""
        for block in self.blocks(max(wide, self.rows_ND.shape[1])):
            yield block, self.solve(self.rows_ND[block].T)

    def _refresh(self) -> None:
        self._lower_DD = factored(self._matrix_DD)
        self._recent_XD: list[Floats] = []
        for block, solved_DN in self.solved_blocks(1):
            self.variance_N[block] = np.einsum("nd,dn->n", self.rows_ND[block], solved_DN)
