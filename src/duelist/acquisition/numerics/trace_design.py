"""Greedy L-optimal design: repeatedly pick the row that reduces tr(T A) most, A = (λI + Σ uuᵀ)⁻¹.

With T the mean of tᵀt over target rows, adding the row u gives (Sherman and Morrison)

    A ← A − (Au)(Au)ᵀ / (1 + uᵀAu),     so tr(T A) falls by   n(u) / (1 + q(u)),   n(u) = uᵀA T A u,  q(u) = uᵀAu.

After a pick z, with h = Az/√(1 + zᵀAz) and g = T h (A before the pick), both numbers of every row are updated from its
products with two vectors:

    q(u) ← q(u) − (u·h)²,     n(u) ← n(u) − 2 (u·h)(u·A g) + (u·h)² (h·g).

So a pick takes one pass over the pool. A is applied through the directions of the greedy engine (see `greedy.py`) and
never formed: A v = (v − Σ_k (v·g_k) g_k)/λ.

The fall is not submodular: a row's gain can rise after another row is added. So a stale gain is not a bound, and every
row is scored again at every pick.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, final

import numpy as np
from numpy.typing import NDArray

from duelist.acquisition.numerics.greedy import DEFAULT_TIE_TOLERANCE, past_directions
from duelist.acquisition.numerics.pool_rows import PoolRows, as_rows
from duelist.acquisition.numerics.question_rows import QuestionRows
from duelist.acquisition.numerics.question_variances import COPY_BYTES, DIGITS_LEFT, QuestionVariances
from duelist.acquisition.numerics.single_gains import applied, variances_and_effects
from duelist.errors import BudgetError, DuelistError

Floats = NDArray[np.float64]

# Gains that differ by less than this fraction of the largest count as equal.
TIE_TOLERANCE = {np.dtype(np.float64): 1e-9}


@dataclass(frozen=True)
class TracePicks:
    """Picks of the trace search.

    Attributes:
        indices_B: positions in the pool, in pick order.
        gain_B: the reduction of tr(T A) by each pick.
        trace_before: tr(T A) without the picks.
    """

    indices_B: NDArray[np.int64]
    gain_B: Floats
    trace_before: float


def reduce_trace(
    rows_ND: NDArray[Any] | PoolRows | QuestionRows,
    past_PD: NDArray[Any],
    target_MD: NDArray[Any],
    regularizer: float,
    budget: int,
    cost_N: Floats | None = None,
) -> TracePicks:
    """Greedily minimise tr(T A) with A⁻¹ = λI + Σ_past uuᵀ + Σ_picked uuᵀ; of equal gains, take the first.

    Memory in addition to the pool: O((P + B + min(M, D)) D), and two numbers per row.

    Args:
        rows_ND: the candidates, √w φ; or questions of several rows (see `question_variances.py`).
        past_PD: the rows already in A⁻¹, √w φ; P may be 0.
        target_MD: T is their mean outer product; M may be 0, and all gains are then 0.
        regularizer: λ, positive.
        budget: number of rows to pick, B <= N.
        cost_N: cost of each candidate; the largest gain per cost is picked. None if cost does not count.

    Raises:
        BudgetError: if the budget is negative or exceeds the pool.
        DuelistError: if λ is not positive, or dimensions differ.
    """
    rows = rows_ND if isinstance(rows_ND, QuestionRows) else as_rows(rows_ND)
    if not 0 <= budget <= len(rows):
        raise BudgetError(f"`0 <= budget <= rows` must hold, but got {budget} and {len(rows)} rows: lower the budget.")
    if not regularizer > 0:
        raise DuelistError(f"The regularizer λ must be positive, but is {regularizer}: give a positive number.")
    if not rows.shape[-1:] == past_PD.shape[1:] == target_MD.shape[1:]:
        raise DuelistError(
            "Candidates, past and target must have the same dimensions, but have "
            f"{rows.shape[-1:]}, {past_PD.shape[1:]} and {target_MD.shape[1:]}: compute them with the same featurizer."
        )
    if isinstance(rows, QuestionRows):
        return _reduce_by_questions(rows, past_PD, target_MD, regularizer, budget, cost_N)
    search = _TraceSearch(rows, past_PD, target_root(target_MD), regularizer, budget, cost_N)
    trace_before = search.trace()
    picks = [search.pick() for _ in range(budget)]
    indices_B = np.array([i for i, _ in picks], np.int64)
    return TracePicks(indices_B, np.array([gain for _, gain in picks], np.float64), trace_before)


def _reduce_by_questions(
    rows: QuestionRows,
    past_PD: NDArray[Any],
    target_MD: NDArray[Any],
    regularizer: float,
    budget: int,
    cost_N: Floats | None,
) -> TracePicks:
    known_XD, tolerance = past_directions(past_PD, regularizer), TIE_TOLERANCE.get(rows.dtype, DEFAULT_TIE_TOLERANCE)
    search = QuestionVariances(rows, known_XD, regularizer, budget, tolerance, target_root(target_MD))
    trace_before = search.value()
    indices_B, gain_B = np.empty(budget, np.int64), np.empty(budget)
    for b in range(budget):
        indices_B[b], gain_B[b] = search.best(cost_N)
        search.add(int(indices_B[b]))
    return TracePicks(indices_B, gain_B if cost_N is None else gain_B * cost_N[indices_B], trace_before)


def target_root(target_MD: NDArray[Any]) -> Floats:
    """Return S, where SᵀS is the mean outer product of the targets, in min(M, D) rows."""
    target_MD = np.asarray(target_MD, np.float64)
    m, d = target_MD.shape
    if m > d:
        target_MD = np.asarray(np.linalg.qr(target_MD, mode="r"))
    return np.asarray(target_MD / np.sqrt(max(1, m)))


@final
class _TraceSearch:
    """State of one run: q and n of every row, and the directions through which A is applied."""

    def __init__(
        self,
        rows: PoolRows,
        past_PD: NDArray[Any],
        root_MD: Floats,
        regularizer: float,
        budget: int,
        cost_N: Floats | None,
    ) -> None:
        known_PD = past_directions(past_PD, regularizer)
        self._rows = rows
        self._copy_ND = np.asarray(rows, np.float64) if not rows.mapped and _bytes(rows) <= COPY_BYTES else None
        self._root_MD = root_MD
        self._regularizer = regularizer
        self._cost_N = cost_N
        self._tolerance = TIE_TOLERANCE.get(rows.dtype, DEFAULT_TIE_TOLERANCE)
        self._k = len(known_PD)
        self._directions_XD = np.empty((self._k + budget, rows.shape[1]))
        self._directions_XD[: self._k] = known_PD
        self._free_N = np.ones(len(rows), bool)
        self._q_N: Floats
        self._n_N: Floats
        self._score_afresh()

    def trace(self) -> float:
        """Return tr(T A)."""
        return float(np.vdot(self._root_MD, self._apply(self._root_MD)))

    def pick(self) -> tuple[int, float]:
        """Return the first row of largest gain (per cost) and its gain, and add the row to A⁻¹."""
        if self._largest_n() < DIGITS_LEFT * self._scored_at:
            self._score_afresh()
        gain_N = np.maximum(self._n_N, 0.0) / (1.0 + self._q_N)
        worth_N = np.where(self._free_N, gain_N if self._cost_N is None else gain_N / self._cost_N, -np.inf)
        best = int(np.argmax(worth_N >= worth_N.max() * (1.0 - self._tolerance)))
        self._add(best)
        return best, float(gain_N[best])

    def _add(self, best: int) -> None:
        row_D = self._rows.read(np.array([best]))[0]
        scale = np.sqrt(1.0 + self._q_N[best])
        h_D = self._apply(row_D[None])[0] / scale
        g_D = (self._root_MD @ h_D) @ self._root_MD
        along_N, across_N = self._products(np.stack([h_D, self._apply(g_D[None])[0]]))
        self._q_N = np.maximum(self._q_N - along_N**2, 0.0)
        self._n_N += along_N * (along_N * float(h_D @ g_D) - 2.0 * across_N)
        # The greedy engine's direction: the row's residual vector over √(λ + its square) = √λ √(1 + q)
        self._directions_XD[self._k] = h_D * np.sqrt(self._regularizer)
        self._k += 1
        self._free_N[best] = False

    def _apply(self, vectors_XD: Floats) -> Floats:
        """Return A v for each row v."""
        return applied(vectors_XD, self._directions_XD[: self._k], self._regularizer)

    def _products(self, vectors_XD: Floats) -> Floats:
        """Return every candidate's inner product with each of X vectors, `[X, N]`."""
        if self._copy_ND is not None:
            return np.asarray(vectors_XD @ self._copy_ND.T)
        product_XN = np.empty((len(vectors_XD), len(self._rows)))
        for positions_N, block_ND in self._rows.blocks():
            product_XN[:, positions_N] = vectors_XD @ block_ND.T
        return product_XN

    def _score_afresh(self) -> None:
        """Compute q and n of every row from their definitions."""
        known_XD = self._directions_XD[: self._k]
        self._q_N, self._n_N = variances_and_effects(self._rows, known_XD, self._root_MD, self._regularizer)
        self._scored_at = self._largest_n()

    def _largest_n(self) -> float:
        return float(self._n_N.max(initial=0.0, where=self._free_N))


def _bytes(rows: PoolRows) -> int:
    return 8 * len(rows) * int(np.prod(rows.shape[1:]))
