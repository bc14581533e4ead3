"""Errors about settings, in a reader's words: which key, what it had, and the nearest valid one."""

from __future__ import annotations

import dataclasses
import difflib
import re
import typing
from collections.abc import Iterable, Mapping
from typing import Any

import yaml
from pydantic import BaseModel, ValidationError
from pydantic.fields import FieldInfo


class _Loader(yaml.SafeLoader):
    """YAML, with the one thing of version 1.1 mended that bites here: it reads `1e-5` as text, not as a number."""


_Loader.add_implicit_resolver("tag:yaml.org,2002:float", re.compile(r"^[-+]?[0-9]+(\.[0-9]*)?[eE][-+]?[0-9]+$"), None)


def read_yaml(text: str) -> Any:
    """The value that a YAML text holds.

    Raises:
        yaml.YAMLError: if it is not YAML.
    """
    return yaml.load(text, Loader=_Loader)


def require_arguments(given: Mapping[str, Any], config: type, ours: Mapping[str, str]) -> None:
    """Hold settings that are handed on to a library's own dataclass to the names that it has.

    Args:
        given: the settings.
        config: the dataclass, such as `trl.DPOConfig`.
        ours: keys that Duelist decides itself, each with what to do instead.

    Raises:
        ValueError: if a key is ours or is unknown; the nearest valid one is named.
    """
    known = [f.name for f in dataclasses.fields(config) if f.init and f.name not in ours]
    for key, value in given.items():
        if key in ours:
            raise ValueError(f"`{key}` must not be set here, but is {value!r}: {ours[key]}.")
        if key not in known:
            raise ValueError(
                f"`{key}` must be an argument of {config.__name__}, but there is none of that name: correct or remove "
                f"it.{nearest(key, known)}"
            )


def nearest(name: str, valid: Iterable[str]) -> str:
    """` Did you mean 'x'?`, or nothing if no valid name is near."""
    close = difflib.get_close_matches(name, list(valid), n=1, cutoff=0.5)
    return f" Did you mean {close[0]!r}?" if close else ""


def explain_invalid(error: ValidationError, model: type[BaseModel], where: str) -> str:
    """One line per problem, each with the key, the requirement, the value, and for an unknown key the nearest."""
    lines = []
    for problem in error.errors(include_url=False):
        path = [str(part) for part in problem["loc"]]
        key = ".".join(path)
        if problem["type"] == "extra_forbidden":
            valid = _keys_at(model, path[:-1])
            hint = nearest(path[-1], valid) or f" Valid keys: {', '.join(valid)}."
            lines.append(f"Unknown key `{key}` in {where}.{hint}")
        elif problem["type"] == "missing":
            lines.append(f"The key `{key}` is required in {where}, but is missing: add it.{_meaning(model, path)}")
        elif problem["type"] == "value_error":  # from a validator of ours, which says all there is to say
            place = f"`{key}` in {where}" if key else where[:1].upper() + where[1:]
            lines.append(f"{place}: {problem['msg'].removeprefix('Value error, ')}")
        else:
            got = f"{problem['msg']}, but got {problem['input']!r}: change it."
            lines.append(f"`{key}` in {where}: {got}{_meaning(model, path)}")
    return "\n".join(lines)


def _fields(model: type[BaseModel]) -> dict[str, FieldInfo]:
    return {field.alias or name: field for name, field in model.model_fields.items()}


def _keys_at(model: type[BaseModel], path: list[str]) -> list[str]:
    for part in path:
        field = _fields(model).get(part)
        annotation: Any = field.annotation if field else None
        nested = [a for a in (annotation, *typing.get_args(annotation)) if _is_model(a)]
        if not nested:
            return []
        model = nested[0]
    return list(_fields(model))


def _meaning(model: type[BaseModel], path: list[str]) -> str:
    """What the key is for, in the words of its description."""
    for i, part in enumerate(path):
        field = _fields(model).get(part)
        if field is None:
            return ""
        nested = [a for a in (field.annotation, *typing.get_args(field.annotation)) if _is_model(a)]
        if i == len(path) - 1 or not nested:
            return f" `{part}` is: {field.description}" if field.description else ""
        model = nested[0]
    return ""


def _is_model(annotation: Any) -> bool:
    return isinstance(annotation, type) and issubclass(annotation, BaseModel)
