"""The recipe that a study began with, in its folder."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import yaml

from duelist.settings import write_yaml
from duelist.store.artifacts import write_text
from duelist.store.layout import RECIPE

REPORTING = ("report_to", "run_name")  # settings of `train`, with those that begin with `logging_`
Completed = Callable[[dict[str, Any]], dict[str, Any]]


def read_recipe(path: Path) -> dict[str, Any]:
    """The recipe of the study in a folder, as plain data."""
    content = yaml.safe_load((path / RECIPE).read_text(encoding="utf-8"))
    return dict(content)


def write_recipe(path: Path, recipe: Mapping[str, Any]) -> None:
    """Write a study's recipe into its folder."""
    write_text(path / RECIPE, write_yaml(dict(recipe)))


def differences(path: Path, recipe: Mapping[str, Any], completed: Completed) -> list[str]:
    """The top-level keys in which a study's recipe differs from this one, reporting aside.

    Args:
        path: the study's folder.
        recipe: the recipe, every default filled in.
        completed: fills in the defaults of keys that did not exist when the study was begun.
    """
    own, wanted = (_without_reporting(r) for r in (completed(read_recipe(path)), json.loads(json.dumps(dict(recipe)))))
    return [key for key in {**own, **wanted} if own.get(key) != wanted.get(key)]


def adopt_reporting(path: Path, recipe: Mapping[str, Any]) -> None:
    """Let a study go on with a recipe that differs from its own in how training reports, if at all."""
    if read_recipe(path) != recipe:
        write_recipe(path, recipe)


def _without_reporting(value: Any, within: str = "") -> Any:
    """A recipe without what may change while a study runs: where, under which name and how often training reports."""
    if not isinstance(value, Mapping):
        return value
    changeable = {k for k in value if within == "train" and (k in REPORTING or k.startswith("logging_"))}
    return {k: _without_reporting(v, k) for k, v in value.items() if k not in changeable}
