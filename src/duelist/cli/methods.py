"""The methods that come with Duelist, as their own files describe them: `duelist methods`."""

from __future__ import annotations

import ast
import importlib.util
import typing
from dataclasses import dataclass
from pathlib import Path

from duelist.recipe.components import COMPONENTS
from duelist.settings.importing import import_object

FIELDS = ("Reference", "Formula", "Unit", "Cost")


@dataclass(frozen=True)
class Method:
    """A method: its kind and name in a recipe, what it does, and what its docstring says of it.

    Attributes:
        kind: the recipe's key.
        name: the name in a recipe.
        summary: what it does, in a sentence.
        reference: where it comes from.
        formula: what it computes.
        needs: of an acquisition, the fields of `Features` that it needs with its default settings.
        unit: what its numbers measure.
        cost: what it costs to run.
        path: the dotted path of its class.
    """

    kind: str
    name: str
    summary: str
    reference: str
    formula: str
    needs: tuple[str, ...]
    unit: str
    cost: str
    path: str


def methods() -> list[Method]:
    """Every method that a recipe can name.

    The fields are those of its class' docstring, and where that has none those at the head of its file. Nothing is
    imported but the acquisitions, to ask them what they need.
    """
    kinds = ("sampler", "pairing", "featurizer", "acquisition", "annotator", "trainer")
    return [_method(kind, name, path) for kind in kinds for name, path in COMPONENTS[kind].items()]


def _method(kind: str, name: str, path: str) -> Method:
    module, _, class_name = path.partition(":")
    spec = importlib.util.find_spec(module)
    if spec is None or spec.origin is None:
        raise ModuleNotFoundError(module)
    tree = ast.parse(Path(spec.origin).read_text(encoding="utf-8"))
    head = ast.get_docstring(tree) or ""
    own = next((n for n in tree.body if isinstance(n, ast.ClassDef) and n.name == class_name), None)
    own_head = (ast.get_docstring(own) or "") if own is not None else ""
    of_class, of_module = _fields(own_head), _fields(head)
    values = {field: of_class[field] or of_module[field] for field in FIELDS}
    return Method(
        kind=kind,
        name=name,
        # A class with fields of its own shares its file with others, which then speaks of all of them.
        summary=(own_head if any(of_class.values()) else head or own_head).partition("\n")[0],
        reference=values["Reference"],
        formula=values["Formula"],
        needs=_needs(path) if kind == "acquisition" else (),
        unit=values["Unit"],
        cost=values["Cost"],
        path=path,
    )


def _fields(docstring: str) -> dict[str, str]:
    """The text of each of `FIELDS` in a docstring; a field goes on to the next one, or to an empty line."""
    values = dict.fromkeys(FIELDS, "")
    current = None
    for line in docstring.splitlines():
        start = next((f for f in FIELDS if line.startswith((f"{f}:", f"{f}s:"))), None)
        if start is not None:
            current = start
            values[current] = line.partition(":")[2].strip()
        elif not line.strip():
            current = None
        elif current is not None:
            values[current] += " " + line.strip()
    return values


def _needs(path: str) -> tuple[str, ...]:
    """The fields that an acquisition needs with its default settings."""
    cls = import_object(path)
    config_type = typing.get_type_hints(cls.__init__).get("config")
    rule = cls() if config_type is None else cls(config_type())
    return tuple(sorted(rule.needs))
