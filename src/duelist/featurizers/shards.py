"""Gradients in files of their own, one for each batch that a worker computed.

A worker writes the gradients of a batch into a `.npy` file that is named by the digest of its content, and returns the
name in place of the numbers. So nothing large passes through the study's process, a batch that is computed twice gives
one file, and a damaged file is noticed when it is read.
"""

from __future__ import annotations

import hashlib
from collections.abc import Collection
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, final
from uuid import uuid4

import numpy as np
from numpy.typing import NDArray

from duelist.errors import StorageError
from duelist.featurizers.mapped_files import as_storage_error
from duelist.files.atomic import atomic_path, discard_temporaries

MAPPED_FILES = 1024  # files that are mapped at the same time, at most


@final
@dataclass(frozen=True)
class Shard:
    """Name of a file with the gradients of a batch, and the factor of each row.

    Attributes:
        digest: 64-bit hash of the stored gradients.
        scale_B: what each stored row is multiplied by when it is read.
    """

    digest: int
    scale_B: NDArray[np.float64]


def stored_rows(values_BD: NDArray[Any], dtype: np.dtype[Any]) -> tuple[NDArray[Any], NDArray[np.float64]]:
    """Return gradients as they are stored, and their scales: in float16 scaled to unit norm, else as they are."""
    scale_B = np.ones(len(values_BD))
    if dtype == np.float16:  # its range is too small for unscaled gradients
        norm_B = np.linalg.norm(values_BD.astype(np.float64), axis=1)
        scale_B = np.where(norm_B > 0, norm_B, 1.0)
        values_BD = values_BD / scale_B[:, None]
    return values_BD.astype(dtype, copy=False), scale_B


@final
@dataclass(frozen=True)
class ShardFolder:
    """Folder of shards, which several processes may write to and one reads.

    Attributes:
        folder: the folder; created with the first shard.
        dtype: the name of the type in which gradients are stored.
    """

    folder: Path
    dtype: str

    def write(self, values_BD: NDArray[Any]) -> Shard:
        """Write the gradients of a batch and return their name, once they are on the disk.

        Raises:
            StorageError: if the folder cannot be written.
        """
        stored_BD, scale_B = stored_rows(values_BD, np.dtype(self.dtype))
        digest = _digest(stored_BD)
        with as_storage_error(self.folder):
            self.folder.mkdir(parents=True, exist_ok=True)
            # Two workers may write the same content.
            with atomic_path(self.path(digest), writer=uuid4().hex) as temporary, temporary.open("wb") as file:
                np.save(file, stored_BD)
        return Shard(digest, scale_B)

    def keep_only(self, digests: Collection[int]) -> None:
        """Delete shards that no row refers to: their worker or its study ended before they were recorded."""
        if not self.folder.is_dir():
            return
        discard_temporaries(self.folder)
        names = {self.path(digest).name for digest in digests}
        for path in self.folder.iterdir():
            if path.name not in names:
                path.unlink(missing_ok=True)

    def path(self, digest: int) -> Path:
        """Return the file of a shard."""
        return self.folder / f"{digest:016x}.npy"


@final
class ShardReader:
    """Rows of shards, which are mapped, and compared with their digest when they are mapped first."""

    def __init__(self, shards: ShardFolder) -> None:
        self._shards = shards
        self._intact: set[int] = set()
        self._mapped = lru_cache(MAPPED_FILES)(self._map)

    def read(self, digest: int, at_S: NDArray[np.int32]) -> NDArray[Any]:
        """Return some of the rows of a shard, as stored.

        Raises:
            StorageError: if the file is gone or is not what was written.
        """
        return np.asarray(self._mapped(digest)[at_S])

    def _map(self, digest: int) -> NDArray[Any]:
        path = self._shards.path(digest)
        try:
            found: NDArray[Any] = np.load(path, mmap_mode="r")
            if digest not in self._intact and _digest(found) != digest:
                raise ValueError("its content has another digest")
        except (OSError, ValueError) as error:
            raise StorageError(
                f"A shard of gradients must be what a worker wrote, but {path} is gone or damaged ({error}): delete "
                f"{self._shards.folder.parent}, or give another --features folder."
            ) from error
        self._intact.add(digest)
        return found


def _digest(stored_BD: NDArray[Any]) -> int:
    content = np.ascontiguousarray(stored_BD)
    digest = hashlib.blake2b(f"{content.shape}{content.dtype}".encode(), digest_size=8)
    digest.update(content.data)
    return int.from_bytes(digest.digest(), "little") or 1  # 0 says that a row is in no shard
