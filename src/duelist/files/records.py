"""Records that wait in a temporary file, so that a data set of any size takes little memory."""

from __future__ import annotations

import pickle
from array import array
from tempfile import SpooledTemporaryFile
from threading import Lock
from typing import Generic, TypeVar, final
from weakref import finalize

from duelist.errors import full_disk_as_storage_error

Record = TypeVar("Record")

IN_MEMORY = 2**22  # bytes of records that are kept in memory before they go to the disk


@final
class Records(Generic[Record]):
    """Records by their position: written once, and read from a temporary file whenever one is asked for.

    Memory holds 8 bytes of each. The file has no name and disappears with the process, even if that is killed. Only
    what this process wrote is read, so records may be any objects that pickle takes.
    """

    def __init__(self) -> None:
        self._file = SpooledTemporaryFile(max_size=IN_MEMORY)  # noqa: SIM115 (closed with this object)
        self._start = array("q", [0])  # of each record, and of the next one
        self._at_end = True
        self._lock = Lock()
        finalize(self, self._file.close)

    def __len__(self) -> int:
        return len(self._start) - 1

    def append(self, record: Record) -> int:
        """Write a record, and return its position.

        Raises:
            StorageError: if the disk is full.
        """
        written = pickle.dumps(record, pickle.HIGHEST_PROTOCOL)
        with self._lock, full_disk_as_storage_error("rows of a data set in the folder of temporary files (TMPDIR)"):
            if not self._at_end:
                self._file.seek(self._start[-1])
                self._at_end = True
            self._file.write(written)
            self._start.append(self._start[-1] + len(written))
        return len(self) - 1

    def __getitem__(self, position: int) -> Record:
        """Return the record at a position from 0 on, a new object each time."""
        with self._lock:
            start, end = self._start[position], self._start[position + 1]
            self._at_end = False
            self._file.seek(start)
            written = self._file.read(end - start)
        record: Record = pickle.loads(written)
        return record
