"""What a method's docstring says of it: `Reference`, `Formula`, `Unit` and `Cost`."""

from __future__ import annotations

import ast
import importlib.util
import inspect
import sys
from pathlib import Path

FIELDS = ("Reference", "Formula", "Unit", "Cost")


def described_in(docstring: str) -> dict[str, str]:
    """Return the text of each of `FIELDS` in a docstring; a field ends at the next field or at an empty line."""
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


def reference_of(cls: type) -> str:
    """Return the reference of a component's class: its own, or that of its module; empty if neither has one."""
    own = described_in(inspect.cleandoc(cls.__doc__ or ""))["Reference"]
    return own or described_in(sys.modules[cls.__module__].__doc__ or "")["Reference"]


def docstrings_of(path: str) -> tuple[str, str]:
    """Return the docstrings of a class, given as `package.module:Name`, and of its module, without importing it.

    Raises:
        ModuleNotFoundError: if there is no such module.
    """
    module, _, class_name = path.partition(":")
    spec = importlib.util.find_spec(module)
    if spec is None or spec.origin is None:
        raise ModuleNotFoundError(module)
    tree = ast.parse(Path(spec.origin).read_text(encoding="utf-8"))
    own = next((n for n in tree.body if isinstance(n, ast.ClassDef) and n.name == class_name), None)
    return ("" if own is None else ast.get_docstring(own) or ""), ast.get_docstring(tree) or ""


def summary_of(path: str) -> str:
    """Return the first line that describes a component's class.

    A class with its own fields shares its module with others: the module docstring then describes all of them.
    """
    of_class, of_module = docstrings_of(path)
    return (of_class if any(described_in(of_class).values()) else of_module or of_class).partition("\n")[0]
