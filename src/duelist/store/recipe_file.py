"""The recipe that a study began with, in its folder."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import yaml

from duelist.store.artifacts import write_text
from duelist.store.layout import RECIPE

Completed = Callable[[dict[str, Any]], dict[str, Any]]


def read_recipe(path: Path) -> dict[str, Any]:
    """The recipe of the study in a folder, as plain data."""
    content = yaml.safe_load((path / RECIPE).read_text(encoding="utf-8"))
    return dict(content)


def write_recipe(path: Path, recipe: Mapping[str, Any]) -> None:
    """Write a study's recipe into its folder."""
    write_text(path / RECIPE, yaml.safe_dump(dict(recipe), sort_keys=False, allow_unicode=True))


def differences(path: Path, recipe: Mapping[str, Any], completed: Completed) -> list[str]:
    """The top-level keys in which a study's recipe differs from this one.

    Args:
        path: the study's folder.
        recipe: the recipe, every default filled in.
        completed: fills in the defaults of keys that did not exist when the study was begun.
    """
    own, wanted = completed(read_recipe(path)), json.loads(json.dumps(dict(recipe)))
    return [key for key in {**own, **wanted} if own.get(key) != wanted.get(key)]
