"""Arrays in memory-mapped files."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from duelist.errors import StorageError, full_disk_as_storage_error
from duelist.files.scratch import mapped_scratch, reserve


def mapped_array(path: Path, dtype: np.dtype[Any], rows: int) -> NDArray[Any]:
    """Map a file as an array with `rows` rows. The file is created or extended as needed; new rows are zeros."""
    needed = rows * dtype.itemsize
    if not needed:
        return np.empty(0, dtype)
    with path.open("ab") as file:
        if file.tell() < needed:
            reserve(file, needed)
    return np.memmap(path, dtype=dtype.base, mode="r+", shape=(rows, *dtype.shape))


def scratch_array(folder: Path, dtype: np.dtype[Any], shape: tuple[int, int]) -> NDArray[Any]:
    """Return a memory-mapped array in an unnamed file in `folder`, which disappears when the process ends or is killed.

    Raises:
        StorageError: if the disk has no room for it.
    """
    with as_storage_error(folder):
        return mapped_scratch(folder, dtype, shape)


def file_size(path: Path) -> int:
    """Return the size of a file in bytes; 0 if it does not exist."""
    return path.stat().st_size if path.is_file() else 0


def damaged(folder: Path, name: str) -> StorageError:
    """Return the error to raise for a file of a folder of features that is gone or not what was saved."""
    return StorageError(
        f"{folder / name} must be what was saved, but it is gone or damaged: delete {folder}, or give another "
        "--features folder."
    )


@contextmanager
def as_storage_error(folder: Path) -> Iterator[None]:
    """Convert an error of the file system into one that names the folder and the remedy.

    Raises:
        StorageError: in place of an OSError.
    """
    try:
        with full_disk_as_storage_error(f"the features in {folder}"):
            yield
    except StorageError:
        raise
    except OSError as error:
        raise StorageError(
            f"{folder} must be a folder that can be written, but it cannot: {error}. Fix it, or give another "
            "--features folder."
        ) from error
