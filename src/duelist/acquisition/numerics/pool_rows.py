"""Rows of a pool that may be too large for memory: read in blocks, in an order different from the stored one."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, final

import numpy as np
from numpy.typing import NDArray

from duelist.files.scratch import give_back

# Size in float64 of the blocks of a pool: large enough for fast matrix products, small relative to any large pool.
BLOCK_BYTES = 2**25

# Rows gathered before pages are released: reading one row of a mapped file can map 2 MiB around it.
GATHERED_ROWS = 128


@final
class PoolRows:
    """View of a pool's rows, one per candidate, in its own order; nothing is copied until it is read.

    `choose` wraps memory-mapped features in it, because reordering an array would load the file. `read` and `blocks`
    return float64 rows in bounded memory; `np.asarray` returns the whole pool as an array.
    """

    def __init__(
        self,
        stored: NDArray[Any],
        order_N: NDArray[np.int64] | None = None,
        block_rows: int | None = None,
        scale_N: NDArray[np.float64] | None = None,
    ) -> None:
        """Create a view of the rows of `stored`.

        Args:
            stored: floats, one row each: an array, or a `np.memmap`.
            order_N: the stored row at each position; every row in stored order by default.
            block_rows: number of rows to hold at a time; by default as many as fit in 32 MiB as float64.
            scale_N: the factor applied to the row at each position when it is read; 1 by default.
        """
        self._stored = stored
        self._order_N = order_N
        self._scale_N = scale_N
        self.block_rows = block_rows or max(1, BLOCK_BYTES // (8 * max(1, stored[:1].size)))

    @property
    def shape(self) -> tuple[int, ...]:
        return (len(self), *self._stored.shape[1:])

    @property
    def dtype(self) -> np.dtype[Any]:
        return self._stored.dtype

    @property
    def mapped(self) -> bool:
        """Return whether the rows are stored in a memory-mapped file."""
        return isinstance(self._stored, np.memmap)

    @property
    def stored_rows(self) -> int:
        """Return the number of rows that one reading of the pool reads."""
        return len(self)

    def __len__(self) -> int:
        return len(self._stored) if self._order_N is None else len(self._order_N)

    def __getitem__(self, positions: NDArray[np.int64]) -> PoolRows:
        """Return a view of the rows at these positions, without reading them."""
        order_N = positions if self._order_N is None else self._order_N[positions]
        scale_N = None if self._scale_N is None else self._scale_N[positions]
        return PoolRows(self._stored, order_N, self.block_rows, scale_N)

    def scaled(self, scale_N: NDArray[np.float64]) -> PoolRows:
        """Return a view of the same rows, each multiplied by its factor, without reading them."""
        scale_N = scale_N if self._scale_N is None else scale_N * self._scale_N
        return PoolRows(self._stored, self._order_N, self.block_rows, scale_N)

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> NDArray[Any]:
        rows = self._stored if self._order_N is None else self._stored[self._order_N]
        if self._scale_N is not None:
            rows = rows * self._scales(np.arange(len(self)))
        return np.asarray(rows, dtype, copy=copy)

    def read(self, positions_N: NDArray[np.int64]) -> NDArray[np.float64]:
        """Return the rows at these positions, as float64; the file is read in stored order."""
        block_ND = self._gathered(positions_N, np.dtype(np.float64))
        if self._scale_N is not None:
            block_ND *= self._scales(positions_N)
        return block_ND

    def stored_order(self, count: int) -> Iterator[NDArray[np.int64]]:
        """Yield the positions of all rows in stored order, `count` at a time."""
        by_storage_N = np.arange(len(self)) if self._order_N is None else np.argsort(self._order_N)
        for start in range(0, len(self), count):
            yield by_storage_N[start : start + count]

    def loaded(self, positions_N: NDArray[np.int64]) -> PoolRows:
        """Return the rows at these positions, read into memory in the type in which they are stored."""
        scale_N = None if self._scale_N is None else self._scale_N[positions_N]
        return PoolRows(self._gathered(positions_N, self.dtype), None, self.block_rows, scale_N)

    def blocks(self) -> Iterator[tuple[NDArray[np.int64], NDArray[np.float64]]]:
        """Yield every row once, in stored order: the positions of a block, and its rows as float64."""
        for positions_N in self.stored_order(self.block_rows):
            rows_N = positions_N if self._order_N is None else self._order_N[positions_N]
            if rows_N[-1] - rows_N[0] == len(rows_N) - 1:  # a run of stored rows: no gathering
                block_ND = self._stored[rows_N[0] : rows_N[-1] + 1].astype(np.float64)
            else:
                block_ND = self._stored[rows_N].astype(np.float64)
            give_back(self._stored)
            if self._scale_N is not None:
                block_ND *= self._scales(positions_N)
            yield positions_N, block_ND

    def _gathered(self, positions_N: NDArray[np.int64], dtype: np.dtype[Any]) -> NDArray[Any]:
        """Return the stored rows at these positions, unscaled; the file is read in stored order."""
        rows_N = positions_N if self._order_N is None else self._order_N[positions_N]
        by_storage_N = np.argsort(rows_N)
        found_ND = np.empty((len(rows_N), *self._stored.shape[1:]), dtype)
        for start in range(0, len(rows_N), GATHERED_ROWS):
            some_N = by_storage_N[start : start + GATHERED_ROWS]
            found_ND[some_N] = self._stored[rows_N[some_N]]
            give_back(self._stored)
        return found_ND

    def _scales(self, positions_N: NDArray[np.int64]) -> NDArray[np.float64]:
        """Return the scales at these positions, in a shape that broadcasts over rows."""
        assert self._scale_N is not None
        return self._scale_N[positions_N].reshape(-1, *[1] * (self._stored.ndim - 1))


def as_rows(pool_ND: NDArray[Any] | PoolRows, block_rows: int | None = None) -> PoolRows:
    """Return `pool_ND` as `PoolRows`: wrapped if it is an array, else unchanged."""
    return pool_ND if isinstance(pool_ND, PoolRows) else PoolRows(pool_ND, block_rows=block_rows)


def row_square_norms(pool_ND: NDArray[Any] | PoolRows) -> NDArray[np.float64]:
    """Return |row|² of every row, in float64, in one pass over the pool; shape `[N]`."""
    rows = as_rows(pool_ND)
    norm_N = np.empty(len(rows))
    for positions_N, block_ND in rows.blocks():
        norm_N[positions_N] = np.vecdot(block_ND, block_ND)
    return norm_N


def first_non_finite(values: NDArray[Any] | PoolRows) -> tuple[int, float] | None:
    """Return the position of a row that contains NaN or an infinity, and that number; None if all are finite."""
    for positions_N, block in as_rows(values).blocks():
        broken = ~np.isfinite(block)
        if broken.any():
            return int(positions_N[np.argwhere(broken)[0][0]]), float(block[broken][0])
    return None
