"""Preparation of a recipe: a function creates models and data once; they are cached and shared by studies."""

from __future__ import annotations

import inspect
import os
import sys
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from duelist._version import __version__
from duelist.errors import RecipeError, full_disk_as_storage_error
from duelist.progress import Progress
from duelist.settings.credentials import with_credentials
from duelist.settings.importing import import_object
from duelist.types import content_id


class PrepareConfig(BaseModel):
    """Models and data that your own function creates once before the study. They are cached.

    `{prepared}` anywhere in the recipe stands for the folder that the function fills. `{seed}` in a setting stands for
    the recipe's `seed`: studies with different seeds then use different prepared models and data. A function that takes
    `progress`, a `duelist.progress.Progress`, can report its stages to it.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    function: str = Field(description="`package.module:name` or `file.py:name`; called as f(folder, **settings).")
    settings: dict[str, Any] = Field(
        default_factory=dict, description='Keyword arguments of the function; "{seed}" stands for the recipe\'s seed.'
    )


PREPARING = "Preparing models and data (once)"


def cache_folder() -> Path:
    """Return the folder of prepared models and data: $DUELIST_CACHE, or duelist/ in the user's cache folder."""
    own = os.environ.get("DUELIST_CACHE")
    if own:
        return Path(own)
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "duelist"


def prepared_folder(function: str, settings: dict[str, Any]) -> Path:
    """Return the folder for this function and these settings. It may not exist yet.

    The name depends on the source: all modules of the function's package, or its own file outside a package. After an
    edit, everything is created again.

    Raises:
        RecipeError: if it is not a Python function outside the standard library, or the settings do not fit it.
    """
    source = inspect.getsourcefile(inspect.unwrap(_function(function, settings)))
    sources = []
    if source is not None:
        package = Path(source).parent
        modules = sorted(package.rglob("*.py")) if (package / "__init__.py").is_file() else [Path(source)]
        sources = [module.read_text(encoding="utf-8") for module in modules]
    # Changed data gives different models, so files under paths in the settings count by name, size and time. A path
    # contains a slash: a folder that happens to have the name of another setting does not count.
    paths = [Path(v) for v in settings.values() if isinstance(v, str) and "/" in v]
    files = [f for path in paths for f in ([path] if path.is_file() else sorted(path.rglob("*"))) if f.is_file()]
    data = [(file.name, file.stat().st_size, file.stat().st_mtime_ns) for file in files]
    name = function.rpartition(":")[2]
    return cache_folder() / f"{name}-{content_id(function.rpartition('/')[2], settings, data, sources, __version__)}"


def _function(name: str, settings: dict[str, Any]) -> Callable[..., Any]:
    """Import the preparation function and check its arguments before it is called.

    Raises:
        RecipeError: if it is not a Python function outside the standard library (`os:system` is rejected), or the
            settings do not fit it.
    """
    call: Callable[..., Any] = import_object(name)
    written = inspect.unwrap(call) if callable(call) else None
    written = getattr(written, "__func__", written)  # function of a bound method
    if not inspect.isfunction(written) or str(written.__module__).partition(".")[0] in sys.stdlib_module_names:
        raise RecipeError(
            f"`prepare.function` must be a Python function that fills a folder, but {name} is "
            f"{'one of the standard library' if inspect.isroutine(written) else f'a {type(call).__name__}'}: write a "
            "function that takes the folder and the settings."
        )
    arguments = {**settings, **({"progress": None} if _reports(call) else {})}
    try:
        inspect.signature(call).bind(Path(), **arguments)
    except TypeError as error:
        raise RecipeError(f"`prepare.settings` must be arguments of {name}, but {error}.") from error
    return call


def _reports(call: Callable[..., Any]) -> bool:
    """Return whether a function takes `progress` to report its own stages."""
    return "progress" in inspect.signature(call).parameters


def prepare(function: str, settings: dict[str, Any], progress: Progress) -> Path:
    """Call `function(folder, **settings)` unless its output is cached, and return the folder.

    A function that takes `progress` gets it, to report its own stages; any other function is shown as one step. Two
    processes that need the same folder wait for each other. An interrupted preparation leaves no files.

    Raises:
        RecipeError: if it is not a Python function outside the standard library, the settings do not fit it, or an
            environment variable that they name is not set.
        StorageError: if the disk is full.
    """
    from filelock import FileLock  # here, because a recipe is read without it

    from duelist.files.atomic import atomic_path

    folder = prepared_folder(function, settings)
    call = _function(function, settings)
    reports = _reports(call)
    arguments = with_credentials(settings) | ({"progress": progress} if reports else {})
    with full_disk_as_storage_error(f"the cache {folder.parent}"):
        cache_folder().mkdir(parents=True, exist_ok=True)
        with FileLock(f"{folder}.lock"):
            if not folder.is_dir():
                shown = nullcontext(lambda steps: None) if reports else progress.stage(PREPARING, 1)
                with shown as advance, atomic_path(folder) as temporary:
                    temporary.mkdir()
                    call(temporary, **arguments)
                    advance(1)
    return folder
