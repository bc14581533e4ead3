"""Arrays in temporary files that disappear with the process."""

from __future__ import annotations

import mmap
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryFile
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from duelist.errors import StorageError, full_disk_as_storage_error

MAPPED_ABOVE = 2**22  # bytes


@contextmanager
def in_temporary_files(what: str) -> Iterator[None]:
    """Convert an `OSError` of a file in the folder of temporary files into a `StorageError` with the remedy.

    Args:
        what: what the file is for, in the plural.
    """
    try:
        with full_disk_as_storage_error(f"{what} in the folder of temporary files (TMPDIR)"):
            yield
    except StorageError:
        raise
    except OSError as error:
        raise StorageError(
            f"The folder of temporary files must be usable, but is not: {error}. Set TMPDIR to a folder that can be "
            f"written, on a disk with room for {what}. Nothing recorded so far is lost."
        ) from error


def temporary_array(dtype: np.dtype[Any], shape: tuple[int, ...]) -> NDArray[Any]:
    """Return an array of no particular content: in memory, or above `MAPPED_ABOVE` in the folder of temporary files.

    Raises:
        StorageError: if the disk has no room for it, or that folder cannot be written.
    """
    if dtype.itemsize * int(np.prod(shape)) <= MAPPED_ABOVE:
        return np.empty(shape, dtype)
    with in_temporary_files("arrays of a large pool"):
        return mapped_scratch(None, dtype, shape)


def mapped_scratch(folder: Path | None, dtype: np.dtype[Any], shape: tuple[int, ...]) -> NDArray[Any]:
    """Return an array of zeros, mapped from an unnamed file in `folder`, or in that of temporary files.

    Raises:
        OSError: if the disk has no room for it.
    """
    with TemporaryFile(dir=folder) as file:
        reserve(file, dtype.itemsize * int(np.prod(shape)))
        return np.memmap(file, dtype=dtype, mode="r+", shape=shape)


def reserve(file: IO[bytes], size: int) -> None:
    """Extend a file to `size` bytes. A full disk raises here, not as a crash when a mapped page is written."""
    if hasattr(os, "posix_fallocate"):
        os.posix_fallocate(file.fileno(), 0, size)
    else:
        file.truncate(size)


def give_back(array: Any) -> None:
    """Release a mapped file's pages, which otherwise count as this process's memory until the file is closed.

    What was written stays in the file. Other arrays, and parts of them, are left as they are.
    """
    while isinstance(array, np.ndarray) and not isinstance(array, np.memmap):
        array = array.base
    # A copy-on-write mapping ("c") would lose its changes.
    if array is None or getattr(array, "mode", "c") == "c" or not hasattr(mmap, "MADV_DONTNEED"):
        return
    while isinstance(array, np.ndarray):
        array = array.base
    if isinstance(array, mmap.mmap):
        array.madvise(mmap.MADV_DONTNEED)
