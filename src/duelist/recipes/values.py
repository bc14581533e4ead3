"""A recipe's content before it is validated: overrides, paths, placeholders."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import yaml

from duelist.errors import RecipeError
from duelist.recipes.components import COMPONENTS
from duelist.settings import read_yaml

# Keys whose values can be paths, in whatever component they stand.
PATH_KEYS = (
    "path",
    "held_out_path",
    "model",
    "chat_template",
    "data",
    "world",
    "initial_adapter",
    "initial_model",
    "labelled",
)


def override(content: dict[str, Any], change: str) -> None:
    """Apply one `key.path=value` to a recipe's content, the value in YAML.

    Raises:
        RecipeError: if the change is not of that form, or its path does not fit the content.
    """
    key, equals, text = change.partition("=")
    if not equals or not key:
        raise RecipeError(f"An override is written `key.path=value`, as in `budget=100`, but got {change!r}.")
    *parents, last = key.split(".")
    target: Any = content
    for depth, parent in enumerate(parents):
        value = target.get(parent)
        if value is None:
            value = {}
        elif isinstance(value, str) and depth == 0 and parent in COMPONENTS:
            value = {"name": value}
        if not isinstance(value, dict):
            raise RecipeError(
                f"`--set {change}` needs a mapping at {parent!r}, but the recipe has {value!r}: correct the key."
            )
        target[parent] = value
        target = value
    try:
        target[last] = read_yaml(text)
    except yaml.YAMLError as error:
        raise RecipeError(f"The value of `--set {change}` must be YAML, but is not: {error}. Quote it.") from error


def listed_names(text: str, option: str) -> list[str]:
    """The names in a list `a,b,c`.

    Raises:
        RecipeError: if there is none.
    """
    names = [part for part in map(str.strip, text.split(",")) if part]
    if not names:
        raise RecipeError(f"`{option}` must name acquisitions, as in `{option} random,activedpo`, but got {text!r}.")
    return names


def require_finite(value: Any, key: str) -> None:
    """Hold every number in a recipe's content to be finite: of infinity or NaN nothing can be computed.

    Args:
        value: the content, or a part of it.
        key: where it stands, for the message; empty for the whole.

    Raises:
        RecipeError: if a number is not; the message names its key.
    """
    if isinstance(value, float) and not math.isfinite(value):
        raise RecipeError(f"Every number in a recipe must be finite, but `{key}` is {value}: give a finite one.")
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list | tuple) else ()
    for name, part in items:
        require_finite(part, f"{key}.{name}" if key else str(name))


def anchored(value: Any, key: str = "") -> Any:
    """Relative paths of things that exist, made absolute: a study goes on from whatever folder it is run in."""
    if isinstance(value, dict):
        return {k: anchored(v, str(k)) for k, v in value.items()}
    if not isinstance(value, str):
        return value
    if key == "function":
        file, colon, name = value.rpartition(":")
        return f"{Path(file).resolve()}:{name}" if colon and file.endswith(".py") and Path(file).is_file() else value
    return str(Path(value).expanduser().resolve()) if key in PATH_KEYS and Path(value).expanduser().exists() else value


def map_strings(value: Any, change: Callable[[str], Any]) -> Any:
    """The same content with every text in it changed."""
    if isinstance(value, str):
        return change(value)
    if isinstance(value, dict):
        return {k: map_strings(v, change) for k, v in value.items()}
    return [map_strings(v, change) for v in value] if isinstance(value, list) else value
