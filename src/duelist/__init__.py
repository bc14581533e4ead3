"""Duelist: annotation-efficient preference alignment.

`import duelist` is light: a name is imported when it is first used, and torch with the first that needs it.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from duelist._version import __version__

if TYPE_CHECKING:
    from duelist.acquisition.base import Acquisition, choose
    from duelist.errors import DuelistError
    from duelist.recipe.recipe import Recipe, load_recipe, parse_recipe
    from duelist.selection.choice import Pick, select
    from duelist.study.study import RoundReport, Study
    from duelist.types import Batch, Features, Label, Pair, Prompt, Response, Selection, Votes

_HOME = {
    "Acquisition": "duelist.acquisition.base",
    "Batch": "duelist.types",
    "DuelistError": "duelist.errors",
    "Features": "duelist.types",
    "Label": "duelist.types",
    "Pair": "duelist.types",
    "Pick": "duelist.selection.choice",
    "Prompt": "duelist.types",
    "Recipe": "duelist.recipe.recipe",
    "Response": "duelist.types",
    "RoundReport": "duelist.study.study",
    "Selection": "duelist.types",
    "Study": "duelist.study.study",
    "Votes": "duelist.types",
    "choose": "duelist.acquisition.base",
    "load_recipe": "duelist.recipe.recipe",
    "parse_recipe": "duelist.recipe.recipe",
    "select": "duelist.selection.choice",
}

__all__ = [
    "Acquisition",
    "Batch",
    "DuelistError",
    "Features",
    "Label",
    "Pair",
    "Pick",
    "Prompt",
    "Recipe",
    "Response",
    "RoundReport",
    "Selection",
    "Study",
    "Votes",
    "__version__",
    "choose",
    "load_recipe",
    "parse_recipe",
    "select",
]


def __getattr__(name: str) -> Any:
    if name in _HOME:
        return getattr(importlib.import_module(_HOME[name]), name)
    raise AttributeError(f"module 'duelist' has no attribute {name!r}")


def __dir__() -> list[str]:
    return __all__
