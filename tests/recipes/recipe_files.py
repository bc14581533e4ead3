"""Files of recipes: data as they read it, and the commands that their READMEs give."""

from __future__ import annotations

import gzip
import json
import re
import shlex
from collections.abc import Iterable, Mapping
from itertools import pairwise
from pathlib import Path
from typing import Any

RECIPES = Path(__file__).parents[2] / "recipes"


def write_rows(file: Path, rows: Iterable[Mapping[str, Any]]) -> None:
    """Write compressed JSON lines."""
    with gzip.open(file, "wt", encoding="utf-8") as lines:
        lines.writelines(json.dumps(row) + "\n" for row in rows)


def commands(name: str) -> list[list[str]]:
    """The words of every command in the code blocks of a recipe's README."""
    text = (RECIPES / name / "README.md").read_text(encoding="utf-8")
    blocks = re.findall(r"^```\n(.*?)^```", text, re.MULTILINE | re.DOTALL)
    return [shlex.split(line) for block in blocks for line in block.replace("\\\n", " ").splitlines()]


def option(words: list[str], name: str) -> list[str]:
    """The values that a command gives an option."""
    return [value for key, value in pairwise(words) if key == name]
