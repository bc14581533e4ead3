"""Helpers for a recipe's content as plain data: names, overrides, paths, placeholders."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import yaml

from duelist.errors import RecipeError
from duelist.recipe.components import COMPONENTS
from duelist.settings.validation import DEEPEST, expanded, read_yaml

# Keys whose values can be paths, in any component.
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
    "against",
)
# Values of such keys that are words, even where a file has that name.
WORDS = {"against": "initial"}


def name_of(content: Mapping[str, Any], kind: str = "") -> str:
    """Return the name of a recipe, or of one of its components, from its plain content; empty if there is none."""
    part = content.get(kind) if kind else content
    return str((part or {}).get("name", ""))


def override(content: dict[str, Any], change: str) -> None:
    """Apply one override `key.path=value` to a recipe's content. The value is YAML.

    Raises:
        RecipeError: if the override has another form, or its path does not fit the content.
    """
    key, equals, text = change.partition("=")
    if not equals or not key:
        raise RecipeError(f"An override is written `key.path=value`, as in `budget=100`, but got {change!r}.")
    *parents, last = key.split(".")
    if len(parents) > DEEPEST:
        raise RecipeError(f"A recipe has {DEEPEST} levels at most, but `--set {change[:60]}...` names {len(parents)}.")
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
    """Return the names in a list `a,b,c`.

    Raises:
        RecipeError: if the list is empty.
    """
    names = [part for part in map(str.strip, text.split(",")) if part]
    if not names:
        raise RecipeError(f"`{option}` must be a list of names, as in `{option} NAME,NAME`, but got {text!r}.")
    return names


def require_plain(value: Any, key: str) -> None:
    """Check that every file and library can store a recipe's content: finite 64-bit numbers, Unicode, text keys.

    Args:
        value: the content, or a part of it.
        key: its path in the recipe, for the message; empty for the whole recipe.

    Raises:
        RecipeError: if a value or a key cannot be stored; the key is named.
    """
    if isinstance(value, float) and not math.isfinite(value):
        raise RecipeError(f"Every number in a recipe must be finite, but `{key}` is {value}: give a finite one.")
    if isinstance(value, int) and not -(2**63) <= value < 2**63:
        raise RecipeError(f"Every integer in a recipe must fit 64 bits, but `{key}` does not: give a smaller one.")
    if isinstance(value, str) and not _is_text(value):
        raise RecipeError(
            f"Text in a recipe must be Unicode without NUL characters, but `{key}` is {value!r:.80}: correct it."
        )
    items = value.items() if isinstance(value, Mapping) else enumerate(value) if isinstance(value, list | tuple) else ()
    for name, part in items:
        if isinstance(value, Mapping) and not (isinstance(name, str) and _is_text(name)):
            within = f"`{key}`" if key else "the recipe"
            raise RecipeError(f"Every key must be text, but {within} has the key {name!r:.80}: quote or correct it.")
        require_plain(part, f"{key}.{name}" if key else str(name))


def _is_text(value: str) -> bool:
    try:
        value.encode()
    except UnicodeEncodeError:  # half a surrogate pair
        return False
    return "\0" not in value


def require_name(name: str) -> None:
    """Check that a recipe's name is readable and unambiguous on one line.

    Raises:
        RecipeError: if it is empty, begins or ends with a space, or has characters that cannot be printed.
    """
    if not name or name != name.strip() or not name.isprintable():
        raise RecipeError(
            f"`name` must be printable text that neither begins nor ends with a space, but is {name!r:.80}: change it."
        )


def require_arm_name(name: str) -> None:
    """Check that an arm's name is valid as a folder name.

    Raises:
        RecipeError: if it is not.
    """
    if not re.fullmatch(r"[\w-]{1,60}", name):
        raise RecipeError(
            f"An arm's name must be letters, digits, - and _, but got {name!r:.80}: rename it, with 60 at most."
        )


def anchored(value: Any, key: str = "") -> Any:
    """Make relative paths of existing files and folders absolute: a study can then resume from any working folder."""
    if isinstance(value, dict):
        return {k: anchored(v, str(k)) for k, v in value.items()}
    if not isinstance(value, str):
        return value
    try:
        if key == "function":
            file, colon, name = value.rpartition(":")
            there = colon and file.endswith(".py") and Path(file).is_file()
            return f"{Path(file).resolve()}:{name}" if there else value
        if value and key in PATH_KEYS and value != WORDS.get(key) and expanded(value).exists():
            return str(expanded(value).resolve())
    except (OSError, RuntimeError) as error:  # a name that is too long, a folder without permission, an unknown ~user
        raise RecipeError(
            f"`{key}` must be a path or a name, but {value!r:.80} cannot be looked up: {error}"
        ) from error
    return value


def map_strings(value: Any, change: Callable[[str], Any]) -> Any:
    """Return the content with `change` applied to every string."""
    if isinstance(value, str):
        return change(value)
    if isinstance(value, dict):
        return {k: map_strings(v, change) for k, v in value.items()}
    return [map_strings(v, change) for v in value] if isinstance(value, list) else value
