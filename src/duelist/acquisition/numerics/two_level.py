"""Two-level greedy selection, for pools that are spread over machines or streamed.

Reference: Mirzasoleiman, Karbasi, Sarkar, Krause, "Distributed Submodular Maximization: Identifying Representative
           Elements in Massive Data", NeurIPS 2013 (GreeDi).

The greedy engine picks a whole budget from every shard, then the budget from the union of those picks. The gain in
log-determinant is monotone and submodular, so it is at least (1 − 1/e)² / min(shards, B) of the best gain. That is the
worst case. In practice the gain is close to that of plain greedy; `benchmarks/selection.py` measures the difference.
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

    Each shard is processed once and may then be released: only the rows of its picks are kept. The result depends only
    on the contents of the shards and on their order. A single shard gives the picks of plain greedy.

    Args:
        shards: arrays or mapped files of rows, `[N_s, D]`; may be a generator.
        past_PD: the rows already in V, counted in every shard and in the union.
        regularizer: λ, positive: one number for all shards (e.g. a multiple of the mean |φ|² of the whole pool).
        budget: total number of rows to pick, B.

    Returns:
        Positions counted across the shards in order, as if they were one pool; scores in the union; all rows read.

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
        in_pool_order_B = np.sort(picks.indices_B)  # keeps the order of equal rows
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
