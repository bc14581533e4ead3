"""Gradients of a folder of features: those of this process in one file, those of workers in shards."""

from __future__ import annotations

from pathlib import Path
from typing import Any, final

import numpy as np
from numpy.typing import NDArray

from duelist.featurizers.mapped_files import as_storage_error, damaged, file_size, mapped_array
from duelist.featurizers.shards import Shard, ShardFolder, ShardReader, stored_rows
from duelist.files.atomic import discard
from duelist.files.scratch import give_back

GRADIENTS = "gradient.bin"
SHARDS = "shards"


@final
class StoredGradients:
    """Gradients as they are stored, one for each row of the folder.

    Args:
        folder: the folder.
        rows: its records, which say where the gradient of a row is: its `shard` (0: in `gradient.bin`), the row there
            (`at`), and the `scale` that it is multiplied by. They are filled by `put`.
        finished: which rows have a gradient.
        dtype: type in which gradients are stored.
        dimension: D; 0 if no gradients are wanted.

    Attributes:
        shards: where workers write the gradients of their batches.

    Raises:
        StorageError: if a gradient of a finished row is gone.
    """

    def __init__(
        self, folder: Path, rows: NDArray[Any], finished: NDArray[np.bool_], dtype: np.dtype[Any], dimension: int
    ) -> None:
        self._path = folder / GRADIENTS
        self._rows = rows
        self._numbers = np.dtype((dtype, (dimension,)))
        self._here: NDArray[Any] | None = None  # gradient.bin, once it is needed
        self.shards = ShardFolder((folder / SHARDS).absolute(), dtype.name)
        self._shard_rows = ShardReader(self.shards)
        digests = set(rows["shard"][finished].tolist()) - {0}
        for path in map(self.shards.path, digests):
            if not path.is_file():
                raise damaged(folder, f"{SHARDS}/{path.name}")
        self.shards.keep_only(digests)
        finished_X = np.flatnonzero(finished & (rows["shard"] == 0))
        if file_size(self._path) < self._numbers.itemsize * (1 + int(finished_X.max(initial=-1))):
            raise damaged(folder, GRADIENTS)

    def put(self, row_X: NDArray[np.int64], at_X: NDArray[np.int64], values: NDArray[Any] | Shard) -> None:
        """Store the gradients of some rows, which are the rows `at_X` of a computed batch."""
        if isinstance(values, Shard):
            self._rows["shard"][row_X], self._rows["at"][row_X] = values.digest, at_X
            self._rows["scale"][row_X] = values.scale_B[at_X]
        else:
            self._rows["shard"][row_X] = 0
            self._mapped()[row_X], self._rows["scale"][row_X] = stored_rows(values[at_X], self._numbers.base)

    def read(self, row_S: NDArray[np.int64]) -> NDArray[Any]:
        """Return the gradients of some rows as stored, without their scales, `[S, D]`."""
        shard_S = self._rows["shard"][row_S]
        if not shard_S.any():
            stored_SD = np.asarray(self._mapped()[row_S])
            give_back(self._here)
            return stored_SD
        stored_SD = np.empty((len(row_S), *self._numbers.shape), self._numbers.base)
        for digest in np.unique(shard_S).tolist():
            own_S = np.flatnonzero(shard_S == digest)
            at_S = self._rows["at"][row_S[own_S]]
            stored_SD[own_S] = self._shard_rows.read(digest, at_S) if digest else self._mapped()[row_S[own_S]]
        return stored_SD

    def flush(self) -> None:
        """Have the gradients that were put written to the disk; those of shards are there already."""
        if isinstance(self._here, np.memmap):
            self._here.flush()
            give_back(self._here)

    def _mapped(self) -> NDArray[Any]:
        """Return the gradients computed in this process; the file takes its room on the disk with the first of them."""
        if self._here is None:
            with as_storage_error(self._path.parent):
                self._here = mapped_array(self._path, self._numbers, len(self._rows))
        return self._here


def discard_gradients(folder: Path) -> None:
    """Delete all gradients of a folder of features."""
    for name in (GRADIENTS, SHARDS):
        discard(folder / name)
