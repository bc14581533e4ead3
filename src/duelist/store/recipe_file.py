"""Recipe of a study: recorded in its database, and written next to it as recipe.yaml for people to read."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from copy import deepcopy
from functools import lru_cache
from pathlib import Path
from typing import Any

import yaml

from duelist.errors import RecipeError
from duelist.settings.validation import require_moderate, write_yaml
from duelist.store.artifacts import write_text
from duelist.store.layout import DATABASE, RECIPE
from duelist.store.remains import recorded_recipe

REPORTING = ("report_to", "run_name")  # settings of `trainer...train`, as are those that begin with `logging_`
Completed = Callable[[dict[str, Any]], dict[str, Any]]


def read_recipe(path: Path) -> dict[str, Any]:
    """Return the content of recipe.yaml in a study's folder, as plain data.

    Raises:
        RecipeError: if the file cannot be read as a mapping.
    """
    try:
        return deepcopy(_mapping((path / RECIPE).read_text(encoding="utf-8")))
    except (OSError, ValueError, yaml.YAMLError) as error:
        raise RecipeError(
            f"A study's recipe must be a mapping in YAML, but {path / RECIPE} cannot be read: {error}. Restore it from "
            f"a copy, or delete it: where {DATABASE} has the recipe, opening the study writes it again."
        ) from error


@lru_cache(maxsize=4)  # opening a study compares the same text several times
def _mapping(text: str) -> dict[str, Any]:
    require_moderate(text)
    content = yaml.safe_load(text)  # YAML 1.1, as written by earlier versions
    if not isinstance(content, dict):
        raise ValueError(f"it holds a {type(content).__name__}")
    return content


def write_recipe(path: Path, recipe: Mapping[str, Any]) -> None:
    """Write a study's recipe into its folder."""
    write_text(path / RECIPE, write_yaml(dict(recipe)))


def kept_recipe(path: Path) -> dict[str, Any]:
    """Return the current recipe of the study in a folder: from its database, or from recipe.yaml if that has none.

    Raises:
        RecipeError: if the database has none and recipe.yaml cannot be read.
        StorageError: if the database cannot be read.
    """
    recorded = recorded_recipe(path)
    return read_recipe(path) if recorded is None else recorded


def differences(path: Path, recipe: Mapping[str, Any], completed: Completed) -> list[str]:
    """Return the top-level keys in which a study's recipe differs from this one, except for reporting settings.

    Args:
        path: the study's folder.
        recipe: the recipe, every default filled in.
        completed: fills in the defaults of keys that did not exist when the study was created.
    """
    own, wanted = (_without_reporting(r) for r in (completed(kept_recipe(path)), as_kept(recipe)))
    return [key for key in {**own, **wanted} if own.get(key) != wanted.get(key)]


def as_kept(recipe: Mapping[str, Any]) -> dict[str, Any]:
    """Return a recipe in the form in which the database returns it."""
    return dict(json.loads(json.dumps(dict(recipe))))


def require_unedited(path: Path, completed: Completed) -> None:
    """Raise an error if recipe.yaml differs from the study's own recipe, because its settings would be ignored.

    Args:
        path: the study's folder.
        completed: fills in the defaults of keys that did not exist when the file was written.

    Raises:
        RecipeError: if the file differs, or cannot be read.
    """
    said = completed(read_recipe(path))
    if different := differences(path, said, completed):
        own = completed(kept_recipe(path))
        changes = ", ".join(f"`{key}` (was {own.get(key)!r}, now {said.get(key)!r})" for key in different)
        raise RecipeError(
            f"A study goes on with the recipe it began with, but {path / RECIPE} was changed since: {changes}. Put the "
            "values back, or delete the file, and opening the study writes it as it was; for the changed recipe give a "
            "new --study folder."
        )


def _without_reporting(value: Any, path: tuple[str, ...] = ()) -> Any:
    """Return a recipe without the settings that may change during a study: those of reporting, and the engine."""
    if not isinstance(value, Mapping):
        return value
    trains = "trainer" in path and path[-1] == "train"  # settings of that name in a user's component belong to the user
    changeable = {k for k in value if trains and (k in REPORTING or k.startswith("logging_"))}
    if not path:
        # Words about the recipe, which a new version may put better, the trackers of the whole study, and who computes,
        # which changes no result.
        changeable |= {"description", "report_to", "engine"}
    return {k: _without_reporting(v, (*path, k)) for k, v in value.items() if k not in changeable}
