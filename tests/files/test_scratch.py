"""Arrays in temporary files."""

from __future__ import annotations

import errno
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from duelist.errors import StorageError
from duelist.files import scratch
from duelist.files.scratch import give_back, temporary_array


@pytest.mark.parametrize("dtype", ["<U5", "<i8", "<f2"])
def test_a_large_array_is_mapped_and_keeps_what_is_written(
    dtype: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    written = np.arange(3000).reshape(1000, 3).astype(dtype)
    monkeypatch.setattr(scratch, "MAPPED_ABOVE", written.nbytes - 1)
    array = temporary_array(written.dtype, written.shape)
    array[:] = written
    give_back(array)
    give_back(array[10:])
    assert isinstance(array, np.memmap) and np.array_equal(array, written)
    assert not list(tmp_path.iterdir())  # it has no name
    small = temporary_array(np.dtype(dtype), (999, 3))
    small[:] = written[:999]
    give_back(small)
    assert not isinstance(small, np.memmap) and np.array_equal(small, written[:999])


def test_a_full_disk_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: Any) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(scratch, "MAPPED_ABOVE", 0)
    monkeypatch.setattr(scratch, "reserve", full)
    with pytest.raises(StorageError, match="the folder of temporary files"):
        temporary_array(np.dtype(np.int64), (3, 2))


def test_an_unwritable_folder_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scratch, "MAPPED_ABOVE", 0)
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "missing"))
    with pytest.raises(StorageError, match="Set TMPDIR to a folder that can be written"):
        temporary_array(np.dtype(np.int64), (3, 2))
