"""The methods that come with Duelist, as their own files describe them: `duelist methods`."""

from __future__ import annotations

import ast
import importlib.util
from dataclasses import dataclass
from pathlib import Path

from duelist.components import COMPONENTS

FIELDS = ("Reference", "Formula", "Unit", "Cost")


@dataclass(frozen=True)
class Method:
    """A method: its kind and name in a recipe, what it does, and the fields that open its file."""

    kind: str
    name: str
    summary: str
    reference: str
    formula: str
    unit: str
    cost: str
    path: str


def methods() -> list[Method]:
    """Every method that a recipe can name, read from the head of its file; nothing is imported."""
    kinds = ("sampler", "pairing", "featurizer", "acquisition", "annotator", "trainer")
    return [_method(kind, name, path) for kind in kinds for name, path in COMPONENTS[kind].items()]


def _method(kind: str, name: str, path: str) -> Method:
    module = path.partition(":")[0]
    spec = importlib.util.find_spec(module)
    if spec is None or spec.origin is None:
        raise ModuleNotFoundError(module)
    head = ast.get_docstring(ast.parse(Path(spec.origin).read_text(encoding="utf-8"))) or ""
    values = dict.fromkeys(FIELDS, "")
    current = None
    for line in head.splitlines():
        start = next((f for f in FIELDS if line.startswith(f + ":")), None)
        if start is not None:
            current = start
            values[current] = line.partition(":")[2].strip()
        elif not line.strip():
            current = None
        elif current is not None:
            values[current] += " " + line.strip()
    summary = head.splitlines()[0] if head else ""
    return Method(kind, name, summary, values["Reference"], values["Formula"], values["Unit"], values["Cost"], path)
