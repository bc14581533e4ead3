"""Greedy selection in a fixed number of readings of the pool: two levels, then a reading that checks and bounds them.

References: Mirzasoleiman, Karbasi, Sarkar, Krause, "Distributed Submodular Maximization: Identifying Representative
            Elements in Massive Data", NeurIPS 2013 (GreeDi: the two levels);
            Nemhauser, Wolsey, Fisher, "An analysis of approximations for maximizing submodular set functions",
            Mathematical Programming 14, 1978 (the bound by gains).

The exact greedy engine (`greedy.py`) reads a row again whenever its stale score may be the largest. With many picks
that are nearly equal, this adds up to several readings of the pool. Here, the pool is read in order:

1. Shard by shard, each in memory while the greedy engine picks candidates from it. The picks are those of the greedy
   engine on all candidates.
2. Once more, to compare every row with every pick S = (s_1 ... s_B) at the moment it was picked. A row whose residual
   was larger than the pick's is missed: plain greedy would have taken it, or another one. If there is none, the picks
   are exactly those of plain greedy. If there are some, the greedy engine picks again with them among the candidates.

The second reading also bounds every batch of B rows, by the gains given a prefix S_c of the picks, c in {0, B/4, B/2,
B}: logdet(batch) ≤ logdet(S_c) + the sum of the B largest log(1 + residual_c / λ) outside S_c. The difference to the
batch is the most that the two levels can have lost.

Memory beyond the pool, in bytes: shard_bytes + (shards · per_shard + B) · D · itemsize for the candidates + (P + B) · D
· 8 for the directions + two blocks of 32 MiB + 24 N.
Cost: O(N D (P + B)) at most; rows far below the last pick are dropped after few directions.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any, final

import numpy as np
from numpy.typing import NDArray

from duelist.acquisition.numerics.greedy import GreedyPicks, past_directions, pick_greedily, row_rounding
from duelist.acquisition.numerics.pool_rows import PoolRows, as_rows
from duelist.errors import BudgetError, DuelistError

Floats = NDArray[np.float64]
SHARD_BYTES = 2**30  # of the rows that are in memory at a time
DIRECTIONS_AT_ONCE = 128  # after so many, rows that cannot have been missed are dropped


@dataclass(frozen=True)
class StreamedPicks:
    """Picks in few readings, and how good they are.

    Attributes:
        picks: the picks; `rows_read` counts the rows read from the pool.
        upper_bound: upper bound on the gain of log-determinant by any batch of this size, in nats.
        exact: whether they are the picks of plain greedy.
    """

    picks: GreedyPicks
    upper_bound: float
    exact: bool

    @property
    def loss_bound(self) -> float:
        """Upper bound on the log-determinant that two levels lost against plain greedy, in nats."""
        return 0.0 if self.exact else max(0.0, self.upper_bound - self.picks.log_determinant_gain)


def pick_streamed(
    pool_ND: NDArray[Any] | PoolRows,
    past_PD: NDArray[Any],
    regularizer: float,
    budget: int,
    *,
    readings: int = 2,
    shard_bytes: int = SHARD_BYTES,
    per_shard: int | None = None,
) -> StreamedPicks:
    """Greedily maximise ‖φ‖²_{V⁻¹} as `pick_greedily` does, in at most so many readings of the pool.

    Args:
        pool_ND: the candidates, one row each, in memory or mapped.
        past_PD: the rows already in V.
        regularizer: λ, positive.
        budget: number of rows to pick, B.
        readings: number of times that the pool is read at most, at least 2. The candidates are read once more each.
        shard_bytes: size of the shards, in the stored type.
        per_shard: candidates from each shard; B by default, for which GreeDi's guarantee holds. Fewer cost less.

    Raises:
        BudgetError: if the budget is negative or exceeds the pool, or too few candidates are taken for it.
        DuelistError: if there are fewer than two readings; see `pick_greedily` for others.
    """
    rows = as_rows(pool_ND)
    if readings < 2:
        raise DuelistError(f"Picks and their check take at least 2 readings of the pool, but got {readings}: give 2.")
    if not 0 <= budget <= len(rows):
        raise BudgetError(f"`0 <= budget <= rows` must hold, but got {budget} and {len(rows)} rows: lower the budget.")
    wanted = budget if per_shard is None else per_shard
    candidate_C = np.sort(np.concatenate([*_shard_picks(rows, past_PD, regularizer, shard_bytes, wanted)]))
    if len(candidate_C) < budget:
        raise BudgetError(
            f"There must be as many candidates as picks, but {wanted} of each shard are {len(candidate_C)} for a "
            f"budget of {budget}: raise `per_shard`."
        )
    known_PD = past_directions(past_PD, regularizer)
    picks = best = _pick_among(rows, candidate_C, past_PD, regularizer, budget)
    read, upper_bound, exact = len(rows) + len(candidate_C), np.inf, False
    for _ in range(readings - 1):
        seen = _check(rows, known_PD, picks, regularizer)
        read, upper_bound = read + len(rows), min(upper_bound, seen.upper_bound)
        checked = replace(picks, best_left=seen.best_left)
        best = checked if best is picks else best
        if not seen.missed:
            best, exact = checked, True
            break
        candidate_C = np.union1d(candidate_C, seen.missed_X)
        again = _pick_among(rows, candidate_C, past_PD, regularizer, budget)
        read += len(candidate_C)
        if again.indices_B.tolist() == picks.indices_B.tolist():
            # What seemed missed is equal within rounding, and comes later.
            exact = len(seen.missed_X) == seen.missed
            best = checked if exact else best
            break
        picks = replace(again, best_left=seen.best_before)
        best = max(best, picks, key=lambda found: found.log_determinant_gain)
    return StreamedPicks(replace(best, rows_read=read), upper_bound, exact)


def _shard_picks(
    rows: PoolRows, past_PD: NDArray[Any], regularizer: float, shard_bytes: int, wanted: int
) -> Iterator[NDArray[np.int64]]:
    """Yield the positions that the greedy engine picks from each shard of the pool, in stored order."""
    row_bytes = max(1, rows.shape[1] * rows.dtype.itemsize)
    for positions_N in rows.stored_order(max(1, shard_bytes // row_bytes)):
        in_order_N = np.sort(positions_N)  # of equal rows, the first one counts
        picks = pick_greedily(rows.loaded(in_order_N), past_PD, regularizer, min(wanted, len(in_order_N)))
        yield in_order_N[picks.indices_B]


def _pick_among(
    rows: PoolRows, candidate_C: NDArray[np.int64], past_PD: NDArray[Any], regularizer: float, budget: int
) -> GreedyPicks:
    picks = pick_greedily(rows.loaded(candidate_C), past_PD, regularizer, budget)
    return replace(picks, indices_B=candidate_C[picks.indices_B])


@dataclass(frozen=True)
class _Check:
    """Result of comparing every row of the pool with every pick.

    Attributes:
        missed: number of rows that plain greedy might have picked instead.
        missed_X: the positions of those that exceed the pick by most, at most B.
        upper_bound: see `StreamedPicks`.
        best_left: upper bound on ‖φ‖²_{V⁻¹} over the rows that are not picked.
        best_before: the largest ‖φ‖²_{V⁻¹} before the first pick.
    """

    missed: int
    missed_X: NDArray[np.int64]
    upper_bound: float
    best_left: float
    best_before: float


def _check(rows: PoolRows, known_PD: Floats, picks: GreedyPicks, regularizer: float) -> _Check:
    """Compare every row with every pick, in one reading of the pool."""
    budget = len(picks.indices_B)
    picked_BD = rows.loaded(picks.indices_B).read(np.arange(budget))
    against = _Against(picked_BD, known_PD, picks, regularizer, rows.dtype)
    step_N = np.full(len(rows), budget)  # when a row was picked
    step_N[picks.indices_B] = np.arange(budget)
    top_XB = {size: np.full(budget, -np.inf) for size in against.prefixes}
    missed, missed_X, excess_X = 0, np.empty(0, np.int64), np.empty(0)
    for positions_N, block_ND in rows.blocks():
        excess_N, residual_N = np.full(len(block_ND), -np.inf), np.empty(len(block_ND))
        for size in against.walk(positions_N, block_ND, step_N[positions_N], residual_N, excess_N):
            left_N = np.where(step_N[positions_N] < size, -np.inf, residual_N)
            top_XB[size] = _largest(np.concatenate([top_XB[size], left_N]), budget)
        found = np.flatnonzero(excess_N > -np.inf)
        missed += len(found)
        missed_X, excess_X = np.append(missed_X, positions_N[found]), np.append(excess_X, excess_N[found])
        if len(missed_X) > budget:
            most = np.argpartition(-excess_X, budget - 1)[:budget]
            missed_X, excess_X = missed_X[most], excess_X[most]
    gain_B = np.concatenate([[0.0], np.cumsum(np.log1p(picks.square_B))])
    bounds = [gain_B[size] + np.log1p(np.maximum(top_B, 0.0) / regularizer).sum() for size, top_B in top_XB.items()]
    left, before = (max(float(top_XB[size].max(initial=0.0)), 0.0) / regularizer for size in (budget, 0))
    return _Check(missed, missed_X, float(min(bounds)), left, before)


def _largest(values_N: Floats, count: int) -> Floats:
    return np.asarray(np.partition(values_N, len(values_N) - count)[len(values_N) - count :]) if count else values_N[:0]


@final
class _Against:
    """The picks that rows are compared with, as directions of the dual form (`greedy.py`)."""

    def __init__(
        self, picked_BD: Floats, known_PD: Floats, picks: GreedyPicks, regularizer: float, dtype: np.dtype[Any]
    ) -> None:
        budget = len(picked_BD)
        self.prefixes = sorted({0, budget // 4, budget // 2, budget})
        self._known_PD = known_PD
        self._dtype = dtype
        self._position_B = picks.indices_B
        self._residual_B = regularizer * picks.square_B
        square_B = np.vecdot(picked_BD, picked_BD)
        self._rounding_B = row_rounding(square_B, self._residual_B, dtype)
        # The smallest residual of this pick and the later ones: below it, a row was not missed.
        self._lowest_B = np.minimum.accumulate((self._residual_B - self._rounding_B)[::-1])[::-1]
        directions_XD = np.concatenate([known_PD, np.empty_like(picked_BD)])
        for b in range(budget):
            before_XD = directions_XD[: len(known_PD) + b]
            direction_D = picked_BD[b] - (before_XD @ picked_BD[b]) @ before_XD
            directions_XD[len(known_PD) + b] = direction_D / np.sqrt(regularizer + self._residual_B[b])
        self._direction_BD = directions_XD[len(known_PD) :]

    def walk(
        self,
        positions_N: NDArray[np.int64],
        block_ND: Floats,
        step_N: NDArray[np.int64],
        residual_N: Floats,
        excess_N: Floats,
    ) -> Iterator[int]:
        """Update the rows' residuals pick by pick, and yield the size of each prefix of the picks when it is reached.

        Args:
            positions_N: the rows' positions in the pool.
            block_ND: the rows.
            step_N: the pick that each row is, if it is one; it is not compared with later ones.
            residual_N: filled: their residuals after the prefix, or earlier ones of rows that were dropped.
            excess_N: filled: by how much a row exceeded a pick; −∞ if it never did.
        """
        square_N = np.vecdot(block_ND, block_ND)
        along_NP = block_ND @ self._known_PD.T
        residual_N[:] = square_N - np.vecdot(along_NP, along_NP)
        yield 0
        alive_X, first = np.arange(len(block_ND)), 0
        for size in self.prefixes[1:]:
            for start in range(first, size, DIRECTIONS_AT_ONCE):
                picks = slice(start, min(start + DIRECTIONS_AT_ONCE, size))
                rounding_X = row_rounding(square_N[alive_X], residual_N[alive_X], self._dtype)
                alive = residual_N[alive_X] + rounding_X >= self._lowest_B[start]
                alive_X, rounding_X = alive_X[alive], rounding_X[alive]
                if not len(alive_X):
                    break
                alive_XD = block_ND if len(alive_X) == len(block_ND) else block_ND[alive_X]
                lost_XB = (alive_XD @ self._direction_BD[picks].T) ** 2
                after_XB = residual_N[alive_X, None] - np.cumsum(lost_XB, axis=1)
                over_XB = after_XB + lost_XB - self._residual_B[picks]
                near_XB = rounding_X[:, None] + self._rounding_B[picks]
                earlier_XB = positions_N[alive_X, None] < self._position_B[picks]
                missed_XB = np.where(earlier_XB, over_XB >= -near_XB, over_XB > near_XB)
                missed_XB &= np.arange(picks.start, picks.stop) < step_N[alive_X, None]
                most_X = np.where(missed_XB, over_XB, -np.inf).max(axis=1)
                excess_N[alive_X] = np.maximum(excess_N[alive_X], most_X)
                residual_N[alive_X] = after_XB[:, -1]
            first = size
            yield size
