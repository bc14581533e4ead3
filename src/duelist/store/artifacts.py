"""Text, JSON and folders, written atomically and read back."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from duelist.files.atomic import atomic_path


def write_text(path: Path, text: str) -> None:
    """Write a text file atomically."""
    with atomic_path(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def write_json(path: Path, value: Any) -> None:
    """Write a JSON file atomically. NaN raises `ValueError`, because it is not JSON."""
    write_text(path, json.dumps(value, ensure_ascii=False, indent=1, allow_nan=False) + "\n")


# Characters that JSON allows in a string but many readers (also Python's splitlines) treat as line breaks: escaped.
_BREAKS = {ord(c): f"\\u{ord(c):04x}" for c in "\x85\u2028\u2029"}


def json_line(row: Mapping[str, Any]) -> str:
    """Return a row as a line of a JSON Lines file."""
    return json.dumps(row, ensure_ascii=False, allow_nan=False).translate(_BREAKS) + "\n"


def write_jsonl(path: Path, rows: Iterable[Mapping[str, Any]]) -> None:
    """Write a JSON Lines file atomically, row by row."""
    with atomic_path(path) as temporary, temporary.open("w", encoding="utf-8") as file:
        file.writelines(map(json_line, rows))


def read_jsonl(path: Path) -> list[dict[str, Any]]:
    """Return the rows of a JSON Lines file."""
    with path.open(encoding="utf-8") as file:
        return [json.loads(line) for line in file]


def copy_folder(source: Path, target: Path) -> None:
    """Copy a folder atomically over `target`."""
    with atomic_path(target) as temporary:
        shutil.copytree(source, temporary)


def digest(path: Path) -> str:
    """Return the SHA-256 of a file, or of a folder's files with their names."""
    total = hashlib.sha256()
    for file in sorted(p for p in path.rglob("*") if p.is_file()) if path.is_dir() else [path]:
        if path.is_dir():
            total.update(str(file.relative_to(path)).encode())
        with file.open("rb") as stream:
            total.update(hashlib.file_digest(stream, "sha256").digest())
    return total.hexdigest()
