"""Detection of damage in a study's folder, without side effects and while other processes may write to it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from duelist.errors import RecipeError
from duelist.store.derived import changed_files
from duelist.store.layout import DATABASE, RECIPE
from duelist.store.recipe_file import read_recipe
from duelist.store.remains import what_is_lost
from duelist.store.store import Store

_AGAIN = "opening the study (`duelist run`, `Study.open`) writes it again"


def damage(path: Path, store: Store, recipe: Mapping[str, Any]) -> list[str]:
    """Return what was lost, deleted or changed in a study's folder, one sentence each.

    Args:
        path: the folder.
        store: the study's record.
        recipe: the study's current recipe.
    """
    lost = [f"{DATABASE} must be restored from a copy: {wrong}" for wrong in what_is_lost(path, store.known)]
    files = [f"{wrong}: {_AGAIN}" for wrong in changed_files(path, store)]
    return [*lost, *store.damaged_labels(), *_recipe(path, recipe), *files]


def _recipe(path: Path, recipe: Mapping[str, Any]) -> list[str]:
    if not (path / RECIPE).is_file():
        return [f"{RECIPE} is gone: {_AGAIN}"]
    try:
        said = read_recipe(path)
    except RecipeError as error:
        return [str(error)]
    different = [key for key, value in said.items() if not _says_no_more(value, recipe.get(key))]
    what = "the study goes on with what it began with; put the values back, or delete the file"
    return [f"{RECIPE} was changed in {', '.join(different)}: {what}"] if different else []


def _says_no_more(said: Any, kept: Any) -> bool:
    """Return whether a value agrees with the study's own: a recipe of an earlier version may have fewer keys."""
    if isinstance(said, dict) and isinstance(kept, dict):
        return all(_says_no_more(value, kept.get(key)) for key, value in said.items())
    return bool(said == kept)
