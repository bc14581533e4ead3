"""L-optimal design on questions of several rows: repeatedly pick the one that reduces tr(T A) most, A = (λI + Σ uuᵀ)⁻¹.

With T = FᵀF, a question with the rows U lowers tr(T A) by

    tr((I + q)⁻¹ n),    q = U A Uᵀ,   n = U A T A Uᵀ     (Woodbury),

and adds logdet(I + q) nats to logdet A⁻¹. A picked question adds its rows z one after another. With h = Az/√(1 + zᵀAz)
and g = T h (A before this row), every question's matrices are updated from its products a = U h and b = U A g:

    q ← q − aaᵀ,     n ← n − abᵀ − baᵀ + (h·g) aaᵀ.

These are the updates of `trace_design.py` with outer products. The products are computed for each response, once for
all questions about it. T = I gives A-optimality, F the target predictions V-optimality and `policy_gap`'s criterion.
"""

from __future__ import annotations

from typing import final

import numpy as np
from numpy.typing import NDArray

from duelist.acquisition.numerics.question_rows import QuestionRows, log_determinants

Floats = NDArray[np.float64]

# n is a difference of numbers as large as its first value; below this fraction of it, too few digits remain.
DIGITS_LEFT = 1e-6
# Maximum memory for a float64 copy of the rows; above it, they are converted block by block at every pick.
COPY_BYTES = 2**31


@final
class QuestionVariances:
    """State of one run: q and n of every question, and the directions through which A is applied."""

    def __init__(
        self,
        rows: QuestionRows,
        past_XD: Floats,
        regularizer: float,
        budget: int,
        tolerance: float,
        matter_XD: Floats | None,
    ) -> None:
        """Start from the past.

        Args:
            rows: the candidates.
            past_XD: the directions of the rows already in A⁻¹ (see `greedy.past_directions`).
            regularizer: λ.
            budget: number of questions that will be picked.
            tolerance: gains that differ by less than this fraction of the largest count as equal.
            matter_XD: F; None for every axis, T = I.
        """
        n, w, d = rows.shape
        self._rows, self._matter_XD = rows, matter_XD
        self._regularizer, self._tolerance = regularizer, tolerance
        self._copy_RD: Floats | None = None
        if not rows.mapped and 8 * len(rows.responses) * d <= COPY_BYTES:
            self._copy_RD = np.asarray(rows.responses, np.float64)
        self._k = len(past_XD)
        self._directions_XD = np.empty((self._k + budget * w, d))
        self._directions_XD[: self._k] = past_XD
        self._free_N = np.ones(n, np.bool_)
        self._score_afresh()

    def best(self, cost_N: Floats | None) -> tuple[int, float]:
        """Return the first remaining question that lowers tr(T A) most (per cost), and the reduction (per cost)."""
        if self._largest() < DIGITS_LEFT * self._scored_at:
            self._score_afresh()
        fall_N = np.maximum(np.trace(np.linalg.solve(self._one_more(), self._n_NWW), axis1=1, axis2=2), 0.0)
        worth_N = np.where(self._free_N, fall_N if cost_N is None else fall_N / cost_N, -np.inf)
        best = int(np.argmax(worth_N >= worth_N.max() * (1.0 - self._tolerance)))
        return best, float(worth_N[best])

    def add(self, row: int) -> float:
        """Add a question's rows to A⁻¹, and return log det(I + q), its gain of logdet, in nats."""
        gain = float(log_determinants(self._q_NWW[row : row + 1])[0])
        vector_XD, turned = [], []
        for row_D in self._rows.stacked(np.array([row])):
            along_D = self._apply(row_D[None])[0]
            h_D = along_D / np.sqrt(1.0 + row_D @ along_D)
            g_D = h_D if self._matter_XD is None else (self._matter_XD @ h_D) @ self._matter_XD
            vector_XD += [h_D, self._apply(g_D[None])[0]]
            turned.append(float(h_D @ g_D))
            self._directions_XD[self._k] = h_D * np.sqrt(self._regularizer)
            self._k += 1
        product_NWX = self._rows.combined(self._products(np.stack(vector_XD)))
        for x, turn in enumerate(turned):
            a_NW, b_NW = product_NWX[:, :, 2 * x], product_NWX[:, :, 2 * x + 1]
            square_NWW = a_NW[:, :, None] * a_NW[:, None, :]
            cross_NWW = a_NW[:, :, None] * b_NW[:, None, :]
            self._q_NWW -= square_NWW
            self._n_NWW += turn * square_NWW - cross_NWW - cross_NWW.transpose(0, 2, 1)
        self._free_N[row] = False
        return gain

    def value(self) -> float:
        """Return tr(T A)."""
        if self._matter_XD is not None:
            return float(np.vdot(self._matter_XD, self._apply(self._matter_XD)))
        known_XD = self._directions_XD[: self._k]
        return float(known_XD.shape[1] - np.vdot(known_XD, known_XD)) / self._regularizer

    def largest_gain(self) -> float | None:
        """Return the largest gain of logdet A⁻¹ of any remaining question, in nats; None if none remains."""
        if not self._free_N.any():
            return None
        return float(log_determinants(self._q_NWW[self._free_N]).max())

    def _apply(self, vectors_XD: Floats) -> Floats:
        """Return A v for each row v."""
        known_XD = self._directions_XD[: self._k]
        return np.asarray((vectors_XD - (vectors_XD @ known_XD.T) @ known_XD) / self._regularizer)

    def _products(self, vectors_XD: Floats) -> Floats:
        """Return every response's inner product with each of X vectors, `[R, X]`."""
        if self._copy_RD is not None:
            return np.asarray((vectors_XD @ self._copy_RD.T).T)
        product_RX = np.empty((len(self._rows.responses), len(vectors_XD)))
        for positions_R, block_RD in self._rows.responses.blocks():
            product_RX[positions_R] = block_RD @ vectors_XD.T
        return product_RX

    def _one_more(self) -> Floats:
        return np.asarray(self._q_NWW + np.eye(self._q_NWW.shape[1]))

    def _score_afresh(self) -> None:
        """Compute q and n of every question from their definitions."""
        groups, known_XD = self._rows.groups, self._directions_XD[: self._k]
        self._q_NWW = self._rows.squares(self._rows.residual_gram(known_XD)) / self._regularizer
        through = groups.empty()
        applied_XD = None if self._matter_XD is None else self._apply(self._matter_XD)
        for groups_G, response_XD in self._rows.blocks():
            matter_XX = self._apply(response_XD) if applied_XD is None else response_XD @ applied_XD.T
            groups.add(through, groups_G, matter_XX, 1.0)
        self._n_NWW = self._rows.squares(through)
        self._scored_at = self._largest()

    def _largest(self) -> float:
        trace_N = np.trace(self._n_NWW, axis1=1, axis2=2)
        return float(trace_N.max(initial=0.0, where=self._free_N))
