"""The engine of A-, V- and G-optimal design: repeatedly the row after which the variances that matter are smallest.

With M the information so far, a row x with its root weight in it changes M⁻¹ to M⁻¹ − s sᵀ c with s = M⁻¹x and
c = 1 / (1 + xᵀM⁻¹x). So the sum of variances tr(F M⁻¹ Fᵀ), F's rows being the directions that matter, falls by

    |F M⁻¹ x|² / (1 + xᵀM⁻¹x).

Both numbers are kept for every row and updated by two products with the pool a pick. Every REFRESH picks they are
computed afresh from a Cholesky factor of M, so that rounding does not add up. No inverse is formed.
"""

from __future__ import annotations

from typing import final

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import cho_solve

from duelist.acquisition.greedy import TIE_TOLERANCE
from duelist.acquisition.optimal_design import DesignProblem, Floats, factored

REFRESH = 64
# How many of the widest targets bound what a row can do, and how many rows are looked at exactly at a time.
WIDEST, LOOK = 8, 32


@final
class VarianceSearch:
    """The state of one greedy run over a pool's rows X, with directions that matter F."""

    def __init__(self, problem: DesignProblem, matter_FD: Floats | None) -> None:
        """Start from the prior and the past.

        Args:
            problem: the candidates, scaled by the roots of their weights, the past and the prior.
            matter_FD: the directions whose variances matter; None for every axis (the trace of M⁻¹).
        """
        self._rows_ND = problem.rows_ND
        self._matter_FD = matter_FD
        self._matrix_DD = problem.information(np.zeros(len(problem.rows_ND)))
        self._recent_KD: list[Floats] = []  # s √c of the picks since the last refresh
        self.picked_N = np.zeros(len(problem.rows_ND), np.bool_)
        self._refresh()

    def add(self, row: int) -> float:
        """Take a row into M; returns log(1 + xᵀM⁻¹x), what it adds to logdet M, in nats."""
        row_D = self._rows_ND[row]
        along_D = self.solve(row_D[:, None])[:, 0]
        own = float(row_D @ along_D)
        step_D = along_D / np.sqrt(1.0 + own)
        matter_D = step_D if self._matter_FD is None else self._matter_FD.T @ (self._matter_FD @ step_D)
        both_N2 = self._rows_ND @ np.stack([step_D, self.solve(matter_D[:, None])[:, 0]], axis=1)
        c_N = both_N2[:, 0]
        self.effect_N += c_N * (c_N * float(step_D @ matter_D) - 2.0 * both_N2[:, 1])
        self.variance_N -= c_N**2
        self._matrix_DD += np.outer(row_D, row_D)
        self._recent_KD.append(step_D)
        self.picked_N[row] = True
        if len(self._recent_KD) == REFRESH:
            self._refresh()
        return float(np.log1p(own))

    def solve(self, columns_DK: Floats) -> Floats:
        """M⁻¹ times some columns."""
        solved_DK = np.asarray(cho_solve((self._lower_DD, True), columns_DK, check_finite=False))
        for step_D in self._recent_KD:
            solved_DK = solved_DK - np.outer(step_D, step_D @ columns_DK)
        return solved_DK

    def best_for_sum(self, cost_N: Floats | None) -> tuple[int, float]:
        """The row that lowers the sum of variances most (per cost), and by how much."""
        fall_N = np.maximum(self.effect_N, 0.0) / (1.0 + self.variance_N)
        return self._first_best(fall_N if cost_N is None else fall_N / cost_N)

    def best_for_worst(self, targets_MD: Floats, cost_N: Floats | None) -> tuple[int, float]:
        """The row that lowers the largest variance zᵀM⁻¹z of the targets most (per cost), and by how much.

        What a row does to the widest few targets bounds what it does to the worst of all, so that rows are looked at
        exactly only while that bound passes the best found.
        """
        solved_DM = self.solve(targets_MD.T)
        variance_M = np.einsum("md,dm->m", targets_MD, solved_DM)
        worst = float(variance_M.max())
        cost = np.ones(len(self._rows_ND)) if cost_N is None else cost_N
        share_N = 1.0 / (1.0 + self.variance_N)

        def fall(rows: NDArray[np.int64], targets: NDArray[np.int64] | slice) -> Floats:
            covariance_NM = self._rows_ND[rows] @ solved_DM[:, targets]
            left_NM = variance_M[targets][None] - covariance_NM**2 * share_N[rows, None]
            return np.asarray(np.maximum(worst - left_NM.max(axis=1), 0.0) / cost[rows])

        widest = np.argsort(-variance_M, kind="stable")[:WIDEST]
        bound_N = fall(np.arange(len(self._rows_ND)), widest)
        bound_N[self.picked_N] = -np.inf
        order_N = np.argsort(-bound_N, kind="stable")
        fall_N = np.full(len(bound_N), -np.inf)
        start, size = 0, LOOK
        while start < len(order_N) and bound_N[order_N[start]] > fall_N.max():
            some_N = order_N[start : start + size]
            fall_N[some_N] = fall(some_N, slice(None))
            fall_N[self.picked_N] = -np.inf
            start, size = start + size, min(2 * size, 512)
        return self._first_best(fall_N)

    def total(self) -> float:
        """tr(F M⁻¹ Fᵀ)."""
        if self._matter_FD is None:
            return float(np.trace(self.solve(np.eye(len(self._matrix_DD)))))
        return float(np.einsum("fd,df->", self._matter_FD, self.solve(self._matter_FD.T)))

    def _first_best(self, worth_N: Floats) -> tuple[int, float]:
        left_N = np.where(self.picked_N, -np.inf, worth_N)
        top = float(left_N.max())
        best = int(np.argmax(left_N >= top - TIE_TOLERANCE[np.dtype(np.float64)] * abs(top)))
        return best, float(left_N[best])

    def _refresh(self) -> None:
        self._lower_DD = factored(self._matrix_DD)
        self._recent_KD.clear()
        self.variance_N, self.effect_N = np.empty(len(self._rows_ND)), np.empty(len(self._rows_ND))
        step = max(1, 2**22 // max(1, self._rows_ND.shape[1]))  # 32 MiB at a time
        for start in range(0, len(self._rows_ND), step):
            block_ND = self._rows_ND[start : start + step]
            solved_DN = np.asarray(cho_solve((self._lower_DD, True), block_ND.T, check_finite=False))
            self.variance_N[start : start + step] = np.einsum("nd,dn->n", block_ND, solved_DN)
            effect_FN = solved_DN if self._matter_FD is None else self._matter_FD @ solved_DN
            self.effect_N[start : start + step] = np.einsum("fn,fn->n", effect_FN, effect_FN)
