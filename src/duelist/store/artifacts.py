"""Files written so that they are either whole or not there: temporary name, sync, rename, sync of the folder."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from duelist.errors import full_disk_as_storage_error

TEMPORARY = ".tmp-"


@contextmanager
def atomic_path(path: Path) -> Iterator[Path]:
    """Yield a temporary path to write a file or a folder at; on success it takes the place of `path`.

    Raises:
        StorageError: if the disk is full. Then, as after any other exception, `path` is what it was before (or whole
            and new, if no more than the last sync failed).
    """
    temporary = path.with_name(f"{TEMPORARY}{path.name}")
    discard(temporary)
    with full_disk_as_storage_error(f"{path.name} in {path.parent}"):
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            yield temporary
            for part in [temporary, *temporary.rglob("*")] if temporary.is_dir() else [temporary]:
                _sync(part)
            if temporary.is_dir() and path.exists():
                # A folder cannot be renamed onto one that is not empty: the old one steps aside first.
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


def write_text(path: Path, text: str) -> None:
    """Write a text file atomically."""
    with atomic_path(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def write_json(path: Path, value: Any) -> None:
    """Write a JSON file atomically. NaN is refused: it is not JSON."""
    write_text(path, json.dumps(value, ensure_ascii=False, indent=1, allow_nan=False) + "\n")


# Line breaks to many a reader (Python's splitlines too) that JSON allows in a string: written as escapes.
_BREAKS = {ord(c): f"\\u{ord(c):04x}" for c in "\x85\u2028\u2029"}


def json_line(row: Mapping[str, Any]) -> str:
    """A row as a line of a JSON Lines file."""
    return json.dumps(row, ensure_ascii=False, allow_nan=False).translate(_BREAKS) + "\n"


def write_jsonl(path: Path, rows: Iterable[Mapping[str, Any]]) -> None:
    """Write a JSON Lines file atomically, row by row."""
    with atomic_path(path) as temporary, temporary.open("w", encoding="utf-8") as file:
        file.writelines(map(json_line, rows))


def read_jsonl(path: Path) -> list[dict[str, Any]]:
    """The rows of a JSON Lines file."""
    with path.open(encoding="utf-8") as file:
        return [json.loads(line) for line in file]


def copy_folder(source: Path, target: Path) -> None:
    """Copy a folder atomically over `target`."""
    with atomic_path(target) as temporary:
        shutil.copytree(source, temporary)


def discard(path: Path) -> None:
    """Remove a file or folder, if it is there."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def discard_temporaries(folder: Path) -> None:
    """Remove what interrupted writers left behind in a folder; its subfolders may be others' (a study's arms)."""
    for path in sorted(folder.glob(f"{TEMPORARY}*")):
        discard(path)


def digest(path: Path) -> str:
    """SHA-256 of a file, or of a folder's files with their names."""
    total = hashlib.sha256()
    for file in sorted(p for p in path.rglob("*") if p.is_file()) if path.is_dir() else [path]:
        if path.is_dir():
            total.update(str(file.relative_to(path)).encode())
        with file.open("rb") as stream:
            total.update(hashlib.file_digest(stream, "sha256").digest())
    return total.hexdigest()


def _sync(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
