"""The greedy engine on questions of several rows: repeatedly pick the one that adds most to logdet V.

A question with the rows U adds logdet(I + U V⁻¹ Uᵀ) nats (matrix determinant lemma). As in `greedy.py`, V is never
formed. With the directions g of all rows in V,

    λ U V⁻¹ Uᵀ = U Uᵀ − Σ_k (U g_k)(U g_k)ᵀ  =: S

A picked question adds its rows to V one after another: its new directions are L⁻¹ times what the known directions leave
of U, with L Lᵀ = λI + S. S never rises, so the gain from some picks ago bounds the present one, and the search is the
same lazy one, with the same rule for ties.

Products are computed for each response, once for all questions about it: the inner products of a group of responses are
kept, and a question's S is Cᵀ K C of its part K.
"""

from __future__ import annotations

from typing import Any, final

import numpy as np
import scipy
from numpy.typing import NDArray

from duelist.acquisition.numerics.factors import factored
from duelist.acquisition.numerics.lazy_search import LazySearch, largest_left
from duelist.acquisition.numerics.question_rows import QuestionRows, log_determinants
from duelist.errors import NumericalError

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]

# Number of directions that fit in a core's cache, with d = 8,192 in float64.
CACHED_ROWS = 16
# With so few missing directions, the products are bounded by memory: rows are read and multiplied in the cache.
FEW_DIRECTIONS, FEW_ROWS = 24, 24


@final
class LazyQuestionSearch:
    """State of one greedy run: K of each group after the first `applied_G` directions, and each question's last gain.

    The gain per cost is `worth_N` (see `StaleScores`).
    """

    def __init__(
        self,
        rows: QuestionRows,
        past_XD: Floats,
        regularizer: float,
        budget: int,
        tolerance: float,
        arithmetic: float,
        cost_N: NDArray[Any] | None,
    ) -> None:
        """Compute every question's gain.

        Args:
            rows: the candidates.
            past_XD: the directions of the rows already in V.
            regularizer: λ.
            budget: number of questions that will be picked.
            tolerance: relative rounding of the stored gradients, for ties.
            arithmetic: relative precision of an inner product minus its known part.
            cost_N: cost of each candidate; None if cost does not count.
        """
        self._rows = rows
        self._regularizer = regularizer
        self._tolerance, self._arithmetic = tolerance, arithmetic
        self._cost_N = np.ones(len(rows)) if cost_N is None else cost_N
        self.applied = len(past_XD)
        self._directions_XD = np.empty((self.applied + budget * rows.shape[1], rows.responses.shape[1]))
        self._directions_XD[: self.applied] = past_XD
        self.rows_read = 0
        if len(past_XD):
            self._gram = rows.residual_gram(past_XD)
            self.rows_read += len(rows.groups.member_X)
        else:
            self._gram = rows.gram.copy()
        if not np.isfinite(self._gram).all():
            raise NumericalError("Gradients must be finite, but one holds NaN or an infinity: look for an overflow.")
        self._applied_G = np.full(len(rows.groups), self.applied, np.int64)
        self.applied_N = np.full(len(rows), self.applied, np.int64)
        self._gain_N = log_determinants(rows.squares(self._gram) / regularizer)
        self.worth_N = self._gain_N / self._cost_N
        # No rounding moves a question's worth by more than this: most need no exact check.
        relative_N = rows.magnitude_N / regularizer
        moved_N = np.maximum(0.5 * tolerance * np.sqrt(relative_N), arithmetic * relative_N)
        self._slack_N = 0.5 * rows.width_N * moved_N / self._cost_N
        self.most_read = max(1, rows.responses.block_rows)
        self._lazy = LazySearch(self)

    def pick(self) -> tuple[int, float]:
        """Return the first question of largest gain (per cost) and its det(I + U V⁻¹Uᵀ) − 1, and add its rows to V."""
        best = self._lazy.first_best(self)
        square = float(np.expm1(self._gain_N[best]))
        position_N, width = np.array([best]), int(self._rows.width_N[best])
        row_WD = self._rows.read(position_N)[0, :width]
        self.rows_read += width + 1
        direction_WD = row_WD.copy()
        for start in range(0, self.applied, CACHED_ROWS):  # few at a time: memory is read once, not twice
            known_XD = self._directions_XD[start : min(start + CACHED_ROWS, self.applied)]
            direction_WD -= (row_WD @ known_XD.T) @ known_XD
        left_WW = self._rows.squares(self._gram, position_N)[0, :width, :width]
        lower_WW = factored(left_WW + self._regularizer * np.eye(width))
        added_XD = self._directions_XD[self.applied : self.applied + width]
        added_XD[:] = scipy.linalg.solve_triangular(lower_WW, direction_WD, lower=True, check_finite=False)
        self.applied += width
        self._gain_N[best] = self.worth_N[best] = -np.inf
        self.applied_N[best] = len(self._directions_XD) + 1  # never evaluated again
        return best, square

    def largest_left(self) -> float:
        """Return the largest det(I + U V⁻¹Uᵀ) − 1 of the remaining questions, by a lazy search like that for a pick."""
        return float(np.expm1(largest_left(self, self._gain_N)))

    def refresh(self, positions_N: Integers) -> None:
        """Bring the gains of some questions up to date; their groups' responses are read if a direction is missing."""
        positions_N = positions_N[self.applied_N[positions_N] < self.applied]
        groups = self._rows.groups
        stale_G = np.unique(groups.group_N[positions_N])
        missing_G = self.applied - self._applied_G[stale_G]
        by_missing = np.argsort(missing_G, kind="stable")
        few, many = np.searchsorted(missing_G[by_missing], [1, FEW_DIRECTIONS + 1])
        for some_G in groups.batches(stale_G[by_missing[few:many]], FEW_ROWS):
            self._apply(some_G)
        for some_G in groups.batches(stale_G[by_missing[many:]], self._rows.responses.block_rows):
            self._apply(some_G)
        self._gain_N[positions_N] = log_determinants(self._rows.squares(self._gram, positions_N) / self._regularizer)
        self.worth_N[positions_N] = self._gain_N[positions_N] / self._cost_N[positions_N]
        self.applied_N[positions_N] = self.applied

    def _apply(self, some_G: Integers) -> None:
        """Subtract the directions that are missing from the inner products of some groups."""
        groups, applied_G = self._rows.groups, self._applied_G[some_G]
        member_X, oldest = groups.members(some_G), int(applied_G.min())
        along_XX = (self._directions_XD[oldest : self.applied] @ self._rows.responses.read(member_X).T).T
        along_XX *= np.arange(oldest, self.applied) >= np.repeat(applied_G, groups.size_G[some_G])[:, None]
        groups.add(self._gram, some_G, along_XX, -1.0)
        self._applied_G[some_G] = self.applied
        self.rows_read += len(member_X)

    def equal_to(self, best: int) -> Integers:
        """Return the questions whose worth, plus their rounding, reaches that of the best one, minus its rounding."""
        lowest = self._moved(np.array([best]), -1.0)[0]
        near = np.flatnonzero(self.worth_N + self._slack_N >= lowest)
        return np.asarray(near[self._moved(near, 1.0) >= lowest])

    def _moved(self, positions_N: Integers, sign: float) -> Floats:
        """Return the worth of some questions if rounding raised (1) or lowered (−1) each eigenvalue of S as it may.

        A row rounded by ε|u| changes an eigenvalue s by 2ε|u|√s: for one row, the rule of `greedy.py`.
        """
        eigenvalue_NW = np.maximum(np.linalg.eigvalsh(self._rows.squares(self._gram, positions_N)), 0.0)
        magnitude_N1 = self._rows.magnitude_N[positions_N, None]
        moved_NW = np.maximum(self._tolerance * np.sqrt(magnitude_N1 * eigenvalue_NW), self._arithmetic * magnitude_N1)
        inside_NW = np.arange(moved_NW.shape[1])[::-1] < self._rows.width_N[positions_N, None]
        moved_NW = np.maximum(eigenvalue_NW + sign * 0.5 * moved_NW * inside_NW, 0.0)
        gain_N = np.log1p(moved_NW / self._regularizer).sum(axis=1)
        return np.asarray(gain_N / self._cost_N[positions_N])
