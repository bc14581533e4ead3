"""Atomic writes: a file is either complete or absent. Temporary name, sync, rename, sync of the folder."""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from duelist.errors import full_disk_as_storage_error

TEMPORARY = ".tmp-"


@contextmanager
def atomic_path(path: Path, writer: str = "") -> Iterator[Path]:
    """Yield a temporary path for a file or a folder; on success it replaces `path`.

    Args:
        path: the path.
        writer: name of this writer, if others may write the same file at the same time.

    Raises:
        StorageError: if the disk is full. After this and any other exception, `path` is unchanged (or complete and
            new, if only the last sync failed).
    """
    temporary = path.with_name(f"{TEMPORARY}{writer}{path.name}")
    discard(temporary)
    with full_disk_as_storage_error(f"{path.name} in {path.parent}"):
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            yield temporary
            for part in [temporary, *temporary.rglob("*")] if temporary.is_dir() else [temporary]:
                _sync(part)
            if temporary.is_dir() and path.exists():
                # A folder cannot be renamed onto a folder that is not empty: move the old one away first.
                old = path.with_name(f"{TEMPORARY}old-{path.name}")
                discard(old)
                path.rename(old)
                try:
                    temporary.rename(path)
                except BaseException:
                    old.rename(path)
                    raise
                discard(old)
            else:
                temporary.replace(path)
            _sync(path.parent)
        except BaseException:
            discard(temporary)
            raise


def discard(path: Path) -> None:
    """Remove a file or folder, if it exists."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def discard_temporaries(folder: Path) -> None:
    """Remove the temporary files of interrupted writers from a folder, but not from its subfolders (a study's arms)."""
    for path in sorted(folder.glob(f"{TEMPORARY}*")):
        discard(path)


def _sync(path: Path) -> None:
    """Have a file or folder written to the disk. Windows opens no folders, and syncs only what is open for writing."""
    windows = sys.platform == "win32"
    if windows and path.is_dir():
        return
    handle = os.open(path, os.O_RDWR if windows else os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
