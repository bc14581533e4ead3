"""Errors about settings, in a reader's words: which key, what it had, and the nearest valid one."""

from __future__ import annotations

import difflib
import typing
from collections.abc import Iterable
from typing import Any

from pydantic import BaseModel, ValidationError


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
            lines.append(f"The key `{key}` is required in {where}, but is missing.")
        else:
            message = problem["msg"].removeprefix("Value error, ")
            lines.append(f"`{key}` in {where}: {message}, but got {problem['input']!r}.")
    return "\n".join(lines)


def _keys_at(model: type[BaseModel], path: list[str]) -> list[str]:
    for part in path:
        fields: dict[str, Any] = {f.alias or name: f.annotation for name, f in model.model_fields.items()}
        nested = [a for a in (fields.get(part), *typing.get_args(fields.get(part))) if _is_model(a)]
        if not nested:
            return []
        model = nested[0]
    return [f.alias or name for name, f in model.model_fields.items()]


def _is_model(annotation: Any) -> bool:
    return isinstance(annotation, type) and issubclass(annotation, BaseModel)
