"""Locks that give one process exclusive access to a folder."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from duelist.errors import DuelistError, StorageError

if TYPE_CHECKING:
    from filelock import AcquireReturnProxy, BaseFileLock


def held(path: Path, what: str, in_use: DuelistError) -> AcquireReturnProxy[BaseFileLock]:
    """Lock the file at `path` without waiting, until the end of the enclosing `with` block.

    Any thread of this process may release the lock. The file's folder is created if it does not exist.

    Args:
        path: the file.
        what: the name of its folder in messages.
        in_use: raised if another process holds the lock.

    Raises:
        DuelistError: `in_use`, if another process holds the lock.
        StorageError: if the file cannot be created.
    """
    from filelock import FileLock, Timeout  # here, because a recipe is read without it

    lock: BaseFileLock = FileLock(path, thread_local=False)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        return lock.acquire(timeout=0)
    except Timeout:
        raise in_use from None
    except OSError as error:
        raise StorageError(
            f"{what} must be writable, but {path.parent} is not: {error}. Fix the permissions, free disk space or give "
            "another folder, then run the same command again."
        ) from error
