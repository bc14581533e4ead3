"""Two-level greedy: for pools that are spread over machines, or that stream by and are never held at once.

Reference: Mirzasoleiman, Karbasi, Sarkar, Krause, "Distributed Submodular Maximization: Identifying Representative
           Elements in Massive Data", NeurIPS 2013 (GreeDi).

The greedy engine picks a whole budget from every shard, then the budget from the union of those picks. The gain in
log-determinant is monotone and submodular, so that gain never falls below (1 − 1/e)² / min(shards, B) of the best.
That is the worst case: in practice it is close to the plain greedy's, and `benchmarks/selection.py` measures how close.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from duelist.acquisition.numerics.greedy import GreedyPicks, pick_greedily
from duelist.acquisition.numerics.pool_rows import PoolRows, as_rows
from duelist.errors import BudgetError


def pick_two_level(
    shards: Iterable[NDArray[Any] | PoolRows], past_PD: NDArray[Any], regularizer: float, budget: int
) -> GreedyPicks:
    """Greedily maximise ‖φ‖²_{V⁻¹} on every shard, then on the union of the shards' picks.

    Each shard is looked at once and may then be let go: only its picks' rows are kept. The result depends on what the
    shards hold and on their order, and on nothing else. One shard alone gives the plain greedy's picks.

    Args:
        shards: arrays or mapped files of rows, `[N_s, D]`; a generator will do.
        past_PD: the rows already in V, counted in every shard and in the union.
        regularizer: λ, positive: one number for all shards (a multiple of the mean |φ|² of the whole pool, say).
        budget: how many to pick in all, B.

    Returns:
        Positions counted through the shards in turn, as if they were one pool; scores in the union; all rows read.

    Raises:
        BudgetError: if the budget exceeds the rows of all shards together.
        DuelistError: if λ is not positive, or candidates and past differ in dimensions.
    """
    kept: list[NDArray[Any]] = []
    positions: list[NDArray[np.int64]] = []
    seen = rows_read = 0
    for shard in shards:
        rows = as_rows(shard)
        picks = pick_greedily(rows, past_PD, regularizer, min(budget, len(rows)))
        in_pool_order_B = np.sort(picks.indices_B)  # so that the first among equals stays the first
        kept.append(rows.read(in_pool_order_B).astype(rows.dtype))
        positions.append(seen + in_pool_order_B)
        seen += len(rows)
        rows_read += picks.rows_read + len(in_pool_order_B)
    if not 0 <= budget <= seen:
        raise BudgetError(f"`0 <= budget <= rows` must hold, but got {budget} and {seen} rows: lower the budget.")
    if not budget:
        return GreedyPicks(np.empty(0, np.int64), np.empty(0), rows_read)
    picks = pick_greedily(np.concatenate(kept), past_PD, regularizer, budget)
    return GreedyPicks(np.concatenate(positions)[picks.indices_B], picks.square_B, rows_read)
