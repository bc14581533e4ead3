"""Locks that keep other processes out of a folder."""

from __future__ import annotations

from pathlib import Path

from filelock import AcquireReturnProxy, BaseFileLock, FileLock, Timeout

from duelist.errors import DuelistError


def held(path: Path, in_use: DuelistError) -> AcquireReturnProxy[BaseFileLock]:
    """Lock the file at `path` at once, and until the end of the `with` block that this begins.

    Any thread of this process may release it.

    Raises:
        DuelistError: `in_use`, if another process holds the lock.
        OSError: if the file cannot be made.
    """
    lock: BaseFileLock = FileLock(path, thread_local=False)
    try:
        return lock.acquire(timeout=0)
    except Timeout:
        raise in_use from None
