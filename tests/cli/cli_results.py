"""What a command did, and what it left."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class Result:
    """What a command did."""

    code: int
    out: str
    err: str

    @property
    def error(self) -> str:
        """The one message on standard error; a run may have said its plan before."""
        assert self.code == 2, (self.code, self.out, self.err)
        assert all(line.startswith("Plan: ") for line in self.out.splitlines()), self.out
        assert self.err.startswith("Error: ") and "Traceback" not in self.err
        return self.err


Command = Callable[..., Result]
WriteRecipe = Callable[..., Path]


def lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def without_times(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [{k: v for k, v in row.items() if k != "seconds"} for row in rows]


def everything_under(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*") if p.is_file()}
