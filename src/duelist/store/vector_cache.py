"""Vectors that were dear to compute, kept in a study's folder: a file for each time that some were added."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from duelist.errors import StorageError
from duelist.store.artifacts import atomic_path, discard_temporaries

Vectors = NDArray[np.float32]


class StoredVectors:
    """The vectors of one source, in a folder of their own."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def read(self) -> dict[str, Vectors]:
        """All vectors that were added, by id.

        Raises:
            StorageError: if a file is not what was written.
        """
        discard_temporaries(self.folder)
        found: dict[str, Vectors] = {}
        for path in self._files():
            try:
                with path.open("rb") as file, np.load(file) as arrays:
                    found |= dict(zip(arrays["id"].tolist(), arrays["vector"], strict=True))
            except Exception as error:  # NumPy, zipfile and zlib each have errors of their own
                raise StorageError(
                    f"Vectors must be read back as they were written, but {path} cannot be read ({error}): restore it "
                    "from a copy, or delete it; its responses are then embedded again."
                ) from error
        return found

    def add(self, ids: Sequence[str], vectors_RE: Vectors) -> None:
        """Keep R vectors: all of them or, if the process dies, none.

        Raises:
            StorageError: if the disk is full.
        """
        last = [int(path.stem) for path in self._files()[-1:]]
        path = self.folder / f"{sum(last) + 1:06d}.npz"
        with atomic_path(path) as temporary, temporary.open("wb") as file:
            np.savez(file, id=np.asarray(ids, dtype=np.str_), vector=vectors_RE)

    def _files(self) -> list[Path]:
        return sorted(self.folder.glob("[0-9]*.npz"))
