"""Arguments of other libraries' settings classes, read from their source: importing the libraries takes seconds."""

from __future__ import annotations

import ast
import dataclasses
from collections.abc import Mapping, Sequence
from functools import cache
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from duelist.settings.validation import nearest

# Of each class: the library that exports it, and the classes that declare its fields, base classes last.
_TRL_BASES = ("trl/trainer/base_config.py:_BaseConfig", "transformers/training_args.py:TrainingArguments")
_DECLARED: dict[str, tuple[str, tuple[str, ...]]] = {
    "LoraConfig": (
        "peft",
        ("peft/tuners/lora/config.py:LoraConfig", "peft/config.py:PeftConfig", "peft/config.py:PeftConfigMixin"),
    ),
    **{
        f"{name}Config": ("trl", (f"trl/trainer/{name.lower()}_config.py:{name}Config", *_TRL_BASES))
        for name in ("SFT", "DPO", "Reward", "RLOO", "GRPO")
    },
}


@cache
def library_arguments(name: str) -> Sequence[str]:
    """Return the names of the constructor's arguments of `peft.LoraConfig` or of one of TRL's configurations.

    If this version of the library declares them elsewhere, the library is imported.
    """
    library, declared = _DECLARED[name]
    found = [_fields(place) for place in declared]
    if all(found):
        return tuple(dict.fromkeys(field for fields in found for field in fields))
    return tuple(f.name for f in dataclasses.fields(getattr(import_module(library), name)) if f.init)


def require_arguments(given: Mapping[str, Any], name: str, ours: Mapping[str, str]) -> None:
    """Check that settings are arguments of a library's settings class.

    Args:
        given: the settings.
        name: name of the class, as for `library_arguments`.
        ours: keys that Duelist sets itself, each with the remedy.

    Raises:
        ValueError: if a key is ours or unknown; the message names the nearest valid one.
    """
    known = [argument for argument in library_arguments(name) if argument not in ours]
    for key, value in given.items():
        if key in ours:
            raise ValueError(f"`{key}` must not be set here, but is {value!r}: {ours[key]}.")
        if key not in known:
            raise ValueError(
                f"`{key}` must be an argument of {name}, but there is none of that name: correct or remove "
                f"it.{nearest(key, known)}"
            )


@cache
def _fields(place: str) -> list[str]:
    """Return the fields that a class declares itself and that its constructor takes; none if it is not there."""
    path, _, name = place.partition(":")
    package, _, within = path.partition("/")
    spec = find_spec(package)
    folders = (spec.submodule_search_locations if spec else None) or []
    file = next((Path(folder) / within for folder in folders if (Path(folder) / within).is_file()), None)
    if file is None:
        return []
    body = ast.parse(file.read_text(encoding="utf-8")).body
    declared = next((node for node in body if isinstance(node, ast.ClassDef) and node.name == name), None)
    statements = [] if declared is None else declared.body
    fields = [s for s in statements if isinstance(s, ast.AnnAssign) and _is_taken(s)]
    return [s.target.id for s in fields if isinstance(s.target, ast.Name)]


def _is_taken(statement: ast.AnnAssign) -> bool:
    """Return whether a field is an argument: not a class variable, and not `field(init=False)`."""
    options = statement.value.keywords if isinstance(statement.value, ast.Call) else []
    excluded = any(o.arg == "init" and isinstance(o.value, ast.Constant) and not o.value.value for o in options)
    return not excluded and "ClassVar" not in ast.unparse(statement.annotation)
