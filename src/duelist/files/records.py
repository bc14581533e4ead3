"""Records that wait in a temporary file, so that a data set of any size takes little memory."""

from __future__ import annotations

import os
import pickle
from array import array
from tempfile import TemporaryFile
from threading import Lock
from typing import IO, Generic, TypeVar, final
from weakref import finalize

from duelist.files.scratch import in_temporary_files

Record = TypeVar("Record")

IN_MEMORY = 2**22  # bytes of records that are kept in memory before they go to the disk


@final
class Records(Generic[Record]):
    """Records by their position: written once, and read from a temporary file whenever one is asked for.

    Memory holds 8 bytes of each, and the last ones up to `IN_MEMORY`. The file has no name and disappears with the
    process, even if that is killed. Only what this process wrote is read, so records may be any objects that pickle
    takes. One thread appends; any number of threads, and processes forked from this one, may read meanwhile.
    """

    def __init__(self) -> None:
        self._start = array("q", [0])  # of each record, and of the next one
        # The position of the first record that is not in the file, and those from it on. They are replaced together,
        # so a thread that reads sees one state of the two.
        self._waiting: tuple[int, list[bytes]] = 0, []
        self._file: IO[bytes] | None = None
        self._lock = Lock()

    def __len__(self) -> int:
        return len(self._start) - 1

    def append(self, record: Record) -> int:
        """Write a record, and return its position.

        Raises:
            StorageError: if the disk is full, or the folder of temporary files cannot be written.
        """
        written = pickle.dumps(record, pickle.HIGHEST_PROTOCOL)
        first, waiting = self._waiting
        waiting.append(written)
        self._start.append(self._start[-1] + len(written))
        if self._start[-1] - self._start[first] > IN_MEMORY:
            with in_temporary_files("rows of a data set"):
                self._write(self._start[first], b"".join(waiting))
            self._waiting = len(self), []
        return len(self) - 1

    def __getitem__(self, position: int) -> Record:
        """Return the record at a position from 0 on, a new object each time."""
        first, waiting = self._waiting
        if position >= first:
            written = waiting[position - first]
        else:
            written = self._read(self._start[position], self._start[position + 1])
        record: Record = pickle.loads(written)
        return record

    def _write(self, start: int, written: bytes) -> None:
        if self._file is None:
            # Without a buffer: nothing is left to write when it is closed, or twice after a fork.
            self._file = TemporaryFile(buffering=0)  # noqa: SIM115 (closed with this object)
            finalize(self, self._file.close)
        rest = memoryview(written)
        with self._lock:
            self._file.seek(start)
            while rest:
                rest = rest[self._file.write(rest) :]

    def _read(self, start: int, end: int) -> bytes:
        assert self._file is not None  # it has the records before the waiting ones
        if hasattr(os, "pread"):  # does not move the file's place, which forked processes share
            return os.pread(self._file.fileno(), end - start, start)
        with self._lock:
            self._file.seek(start)
            return self._file.read(end - start)
