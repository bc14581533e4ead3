"""Greedy engine: repeatedly pick the row of largest ‖φ‖²_{V⁻¹}, where V grows by φφᵀ with every pick.

Reference: ActiveDPO (arXiv 2505.19241), equation (4), the growth of V within a batch.

The dual form needs only inner products, never the D x D matrix V or its inverse. Let the rows u_1 ... u_X be in V. With
U their matrix and L Lᵀ = U Uᵀ + λI, the rows g_k of G = L⁻¹ U give

    λ φᵀ V⁻¹ φ = |φ|² − Σ_k (φ·g_k)²  =: residual(φ)         (Woodbury)

Adding a row u adds one row to L, and so one direction:

    g = (u − Σ_k (u·g_k) g_k) / sqrt(λ + residual(u)),      residual(φ) ← residual(φ) − (φ·g)²

This is an incremental Cholesky factorisation of the Gram matrix. It costs O(N D) per pick instead of O(N D²), and it is
stable because no inverse is formed. All accumulation is in float64, independent of the type of the pool.

Residuals never rise, so the residual from some picks ago is an upper bound. A row is skipped while its bound is below
the best residual (lazy greedy; Minoux, "Accelerated greedy algorithms for maximizing submodular set functions", 1978).
When a row is evaluated, its missing picks are subtracted together; only its bound and the number of applied picks are
stored. So the pool is read in full once, later only in small parts, and may be a file far larger than memory. The
search itself is in `lazy_search.py`; `question_greedy.py` runs it on questions of several rows.

Rows whose residuals differ by less than the rounding of the features count as equal, and the first one is taken.
Otherwise noise in the last digit would decide, and it differs from machine to machine. For example, with
`normalize: pair` every first score is exactly 1 except for rounding. A row that is rounded by ε|φ| has its residual r
changed by 2ε|φ|√r. Each row has its own tolerance, so one huge row does not make all others equal. The lazy search
follows this rule: it continues while a bound exceeds the best, or while an earlier row's bound is equal to the best
within rounding.

If pairs differ in cost, the search maximises log(1 + residual / λ) / cost, the gain of log-determinant per second. A
stale residual also bounds this number, so the search stays lazy and exact.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, final

import numpy as np
import scipy
from numpy.typing import NDArray

from duelist.acquisition.numerics.factors import factored
from duelist.acquisition.numerics.lazy_search import LazySearch, largest_left
from duelist.acquisition.numerics.pool_rows import PoolRows, as_rows
from duelist.acquisition.numerics.question_greedy import CACHED_ROWS, LazyQuestionSearch
from duelist.acquisition.numerics.question_rows import QuestionRows
from duelist.errors import BudgetError, DuelistError, NumericalError

# For rows of equal |φ|², scores that differ by less than this fraction of |φ|² count as equal: a few roundings of the
# features' type. The rounding of float16 is part of the pool, the same on every machine, so float16 pools use the
# tolerance of float32.
TIE_TOLERANCE = {np.dtype(np.float64): 1e-12}
DEFAULT_TIE_TOLERANCE = 1e-6
# A residual is |φ|² minus its known part: the relative precision of this difference in float64.
ARITHMETIC_TOLERANCE = 1e-12


@dataclass(frozen=True)
class GreedyPicks:
    """Picks of the greedy engine.

    Attributes:
        indices_B: positions in the pool, in pick order.
        square_B: ‖φ‖²_{V⁻¹} of each pick at the moment it was picked; det(I + U V⁻¹Uᵀ) − 1 of a question with rows U,
            which is the same for one row.
        rows_read: number of rows read from the pool; a row read twice counts twice.
        best_left: upper bound on ‖φ‖²_{V⁻¹} over the remaining rows: that of the last pick. With costs, the last pick
            may be cheap rather than informative, so it is the largest of the remaining rows.
    """

    indices_B: NDArray[np.int64]
    square_B: NDArray[np.float64]
    rows_read: int
    best_left: float = np.inf

    @property
    def log_determinant_gain(self) -> float:
        """Return logdet(V with the picks) − logdet(V without), in nats."""
        return float(np.log1p(self.square_B).sum())


def pick_greedily(
    phi_ND: NDArray[Any] | PoolRows | QuestionRows,
    past_PD: NDArray[Any],
    regularizer: float,
    budget: int,
    square_norm_N: NDArray[np.float64] | None = None,
    block_rows: int | None = None,
    cost_N: NDArray[Any] | None = None,
) -> GreedyPicks:
    """Greedily maximise ‖φ‖²_{V⁻¹} with V = λI + Σ_past φφᵀ + Σ_picked φφᵀ.

    The same picks greedily maximise logdet V, whose gain is log(1 + ‖φ‖²_{V⁻¹}). With `cost_N`, the search maximises
    that gain divided by the cost. Of equal rows, it takes the first.
    Memory in addition to the pool: O((P + B) D), four numbers per row (six with costs), and one block of rows.

    Args:
        phi_ND: the candidates, one row each: an array or a memory-mapped file, of any float type; or questions of
            several rows, for which the search maximises logdet(I + U V⁻¹Uᵀ).
        past_PD: the rows already in V; P may be 0.
        regularizer: λ, positive.
        budget: number of rows to pick, B <= N.
        square_norm_N: |φ|² of the candidates, if known: saves one pass over the pool if there is no past. Questions
            know theirs.
        block_rows: number of rows to hold at a time; by default as many as fit in 32 MiB as float64.
        cost_N: cost of each candidate, e.g. in seconds, positive; None if cost does not count.

    Returns:
        The picks, their ‖φ‖²_{V⁻¹} (not divided by the cost) and the number of rows read.

    Raises:
        BudgetError: if the budget is negative or exceeds the pool.
        DuelistError: if λ or a cost is not positive, or candidates and past differ in dimensions.
        NumericalError: if a row contains NaN or an infinity.
    """
    rows = phi_ND if isinstance(phi_ND, QuestionRows) else as_rows(phi_ND, block_rows)
    if not 0 <= budget <= len(rows):
        raise BudgetError(f"`0 <= budget <= rows` must hold, but got {budget} and {len(rows)} rows: lower the budget.")
    if not regularizer > 0:
        raise DuelistError(f"The regularizer λ must be positive, but is {regularizer}: give a positive number.")
    if rows.shape[-1:] != past_PD.shape[1:]:
        raise DuelistError(
            f"Candidates and past must have the same dimensions, but have {rows.shape[-1:]} and {past_PD.shape[1:]}: "
            "compute both with the same featurizer settings."
        )
    if cost_N is not None and (cost_N.shape != (len(rows),) or not ((cost_N > 0) & np.isfinite(cost_N)).all()):
        raise DuelistError(
            f"Costs must be positive and finite, one a row, but {cost_N.shape} costs for {len(rows)} rows range from "
            f"{cost_N.min(initial=np.inf)} to {cost_N.max(initial=-np.inf)}: give seconds per pair."
        )
    known_PD = past_directions(past_PD, regularizer)
    search: _LazySearch | LazyQuestionSearch
    if isinstance(rows, QuestionRows):
        tolerance = TIE_TOLERANCE.get(rows.dtype, DEFAULT_TIE_TOLERANCE)
        search = LazyQuestionSearch(rows, known_PD, regularizer, budget, tolerance, ARITHMETIC_TOLERANCE, cost_N)
    else:
        search = _LazySearch(rows, known_PD, regularizer, budget, square_norm_N, cost_N)
    indices_B, square_B = np.empty(budget, np.int64), np.empty(budget)
    for b in range(budget):
        indices_B[b], square_B[b] = search.pick()
    best_left = float(square_B[-1]) if budget else np.inf
    if cost_N is not None and budget < len(rows):
        best_left = search.largest_left()
    return GreedyPicks(indices_B, square_B, search.rows_read, best_left)


def past_directions(past_PD: NDArray[Any], regularizer: float) -> NDArray[np.float64]:
    """Return the directions g of the past rows: G = L⁻¹ U, at most D of them.

    Raises:
        NumericalError: if λ is lost to rounding relative to the rows.
    """
    past_PD = np.asarray(past_PD, np.float64)
    if len(past_PD) > past_PD.shape[1]:
        past_PD = np.asarray(np.linalg.qr(past_PD, mode="r"))  # only UᵀU counts, and D rows keep it
    if not len(past_PD):
        return past_PD
    lower_PP = factored(past_PD @ past_PD.T + regularizer * np.eye(len(past_PD)))
    # Gᵀ = Uᵀ L⁻ᵀ: passed as columns, the rows need no copy into LAPACK's order.
    return np.asarray(scipy.linalg.blas.dtrsm(1.0, lower_PP, past_PD.T, side=1, lower=1, trans_a=1).T)


def tie_tolerance(dtype: np.dtype[Any]) -> float:
    """Return the fraction of |φ|² below which scores of rows of this type count as equal."""
    return TIE_TOLERANCE.get(dtype, DEFAULT_TIE_TOLERANCE)


def row_rounding(
    square_N: NDArray[np.float64], residual_N: NDArray[np.float64], dtype: np.dtype[Any]
) -> NDArray[np.float64]:
    """Return the amount by which rounding may have changed the residuals of rows with these |φ|²."""
    moved_N = tie_tolerance(dtype) * np.sqrt(square_N * np.maximum(residual_N, 0.0))
    return np.asarray(0.5 * np.maximum(moved_N, ARITHMETIC_TOLERANCE * square_N))


@final
class _LazySearch:
    """State of one greedy run: each row's residual after the first `applied_N` directions bounds its current one.

    Its objective there, the residual itself or the gain per cost, is `worth_N` (see `StaleScores`).
    """

    def __init__(
        self,
        rows: PoolRows,
        past_PD: NDArray[np.float64],
        regularizer: float,
        budget: int,
        square_norm_N: NDArray[np.float64] | None,
        cost_N: NDArray[Any] | None,
    ) -> None:
        p, n = len(past_PD), len(rows)
        self._rows = rows
        self._regularizer = regularizer
        self._directions_XD = np.empty((p + budget, rows.shape[1]))
        self._directions_XD[:p] = past_PD
        self.applied = p
        self.applied_N = np.full(n, p, np.int64)
        self.rows_read = 0
        self._tolerance = tie_tolerance(rows.dtype)
        if square_norm_N is not None and p == 0:
            self._bound_N = square_norm_N.copy()
            self._square_N = square_norm_N
        else:
            self._bound_N, self._square_N = np.empty(n), np.empty(n)
            for positions_N, block_ND in rows.blocks():
                square_N = np.vecdot(block_ND, block_ND)
                self._square_N[positions_N] = square_N
                along_NP = block_ND @ past_PD.T
                self._bound_N[positions_N] = square_N - np.vecdot(along_NP, along_NP)
            self.rows_read += n
        if not np.isfinite(self._bound_N).all():
            row = int(np.flatnonzero(~np.isfinite(self._bound_N))[0])
            raise NumericalError(f"Rows must be finite, but row {row} holds NaN or an infinity: look for an overflow.")
        self._cost_N = cost_N
        self.worth_N = self._bound_N if cost_N is None else self._worth(np.arange(n), self._bound_N)
        self.most_read = rows.block_rows
        self._lazy = LazySearch(self)

    def pick(self) -> tuple[int, float]:
        """Return the first row of largest residual and its ‖φ‖²_{V⁻¹}, and add the row to V."""
        best = self._lazy.first_best(self)
        residual = max(self._bound_N[best], 0.0)
        row_D = self._read(np.array([best]))[0]
        direction_D = row_D.copy()
        for start in range(0, self.applied, CACHED_ROWS):  # few at a time: memory is read once, not twice
            known_XD = self._directions_XD[start : min(start + CACHED_ROWS, self.applied)]
            direction_D -= (known_XD @ row_D) @ known_XD
        self._directions_XD[self.applied] = direction_D / np.sqrt(self._regularizer + residual)
        self.applied += 1
        self._bound_N[best] = self.worth_N[best] = -np.inf
        self.applied_N[best] = len(self._directions_XD)  # never evaluated again
        return best, residual / self._regularizer

    def largest_left(self) -> float:
        """Return the largest ‖φ‖²_{V⁻¹} of the remaining rows, by a lazy search like that for a pick."""
        return max(largest_left(self, self._bound_N), 0.0) / self._regularizer

    def equal_to(self, best: int) -> NDArray[np.int64]:
        """Return the rows whose objective, plus their rounding, reaches that of the best row, minus its rounding."""
        row = np.array([best])
        lowest = self._worth(row, self._bound_N[row] - self._rounding(row))[0]
        # No row's rounding is larger than this, so most rows need no exact check.
        upper_N = self._bound_N + 0.5 * self._tolerance * self._square_N
        near = np.flatnonzero(self._worth(slice(None), upper_N) >= lowest)
        return np.asarray(near[self._worth(near, self._bound_N[near] + self._rounding(near)) >= lowest])

    def _rounding(self, positions_N: NDArray[np.int64]) -> NDArray[np.float64]:
        """Return the amount by which rounding may have changed the residuals of some rows."""
        return row_rounding(self._square_N[positions_N], self._bound_N[positions_N], self._rows.dtype)

    def _worth(self, positions_N: NDArray[np.int64] | slice, residual_N: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return the objective of some rows with these residuals; −∞ for picked rows, whose residual is −∞."""
        if self._cost_N is None:
            return residual_N
        gain_N = np.log1p(np.maximum(residual_N, 0.0) / self._regularizer) / self._cost_N[positions_N]
        return np.where(np.isneginf(residual_N), -np.inf, gain_N)

    def refresh(self, positions_N: NDArray[np.int64]) -> None:
        """Update the residuals of some rows to include all picks."""
        positions_N = positions_N[self.applied_N[positions_N] < self.applied]
        for start in range(0, len(positions_N), self._rows.block_rows):
            some_N = positions_N[start : start + self._rows.block_rows]
            applied_N = self.applied_N[some_N]
            oldest = int(applied_N.min())
            along_NX = self._read(some_N) @ self._directions_XD[oldest : self.applied].T
            along_NX *= np.arange(oldest, self.applied) >= applied_N[:, None]
            self._bound_N[some_N] -= np.vecdot(along_NX, along_NX)
            if self._cost_N is not None:
                self.worth_N[some_N] = self._worth(some_N, self._bound_N[some_N])
            self.applied_N[some_N] = self.applied

    def _read(self, positions_N: NDArray[np.int64]) -> NDArray[np.float64]:
        self.rows_read += len(positions_N)
        return self._rows.read(positions_N)
