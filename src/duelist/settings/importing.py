"""Import of objects by name: `package.module:Name`, or `path/to/file.py:Name`."""

from __future__ import annotations

import importlib
import importlib.util
import sys
from pathlib import Path
from typing import Any

from duelist.errors import RecipeError, described
from duelist.settings.validation import nearest
from duelist.types import content_id


def import_object(path: str, base: Path | None = None) -> Any:
    """Import the object that a dotted path or a file path names.

    Args:
        path: `package.module:Name`, or `file.py:Name` with the file relative to `base`.
        base: the base folder of file paths (a recipe's own folder); the current folder by default.

    Raises:
        RecipeError: if the path has no colon, the module cannot be found or fails, or it has no such name.
    """
    module_name, colon, name = path.rpartition(":")
    if not colon or not module_name or not name:
        raise RecipeError(
            f"An object is named as `package.module:Name` or `file.py:Name`, but got {path!r}: add the missing part."
        )
    module = _module_from_file((base or Path()) / module_name) if module_name.endswith(".py") else _module(module_name)
    try:
        return getattr(module, name)
    except AttributeError:
        public = [n for n in vars(module) if not n.startswith("_")]
        hint = nearest(name, public) or f" It has: {', '.join(public) or 'nothing'}."
        raise RecipeError(f"{path!r} must name an object, but {module_name} has no {name!r}.{hint}") from None


def _module(name: str) -> Any:
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        if error.name is None or not (name + ".").startswith(error.name + "."):
            raise _failed(name, error) from error  # it exists, but imports a missing module
        raise RecipeError(
            f"The module {name!r} must be importable, but Python finds no {error.name!r}: install its package, run "
            "from the folder that holds it, or name a file (`my_file.py:Name`)."
        ) from error
    except KeyboardInterrupt:
        raise
    except BaseException as error:  # sys.exit() too
        raise _failed(name, error) from error


def _module_from_file(file: Path) -> Any:
    file = file.resolve()
    if not file.is_file():
        raise RecipeError(f"A Python file must exist at {file}, but there is none: correct the path.")
    name = f"duelist_user_{file.stem}_{content_id(str(file))}"
    if name not in sys.modules:
        spec = importlib.util.spec_from_file_location(name, file)
        if spec is None or spec.loader is None:
            raise RecipeError(f"{file} must be a Python file, but it cannot be loaded as one.")
        module = importlib.util.module_from_spec(spec)
        sys.modules[name] = module
        try:
            spec.loader.exec_module(module)
        except BaseException as error:
            del sys.modules[name]
            if isinstance(error, KeyboardInterrupt):
                raise
            raise _failed(str(file), error) from error  # sys.exit() too
    return sys.modules[name]


def _failed(where: str, error: BaseException) -> RecipeError:
    return RecipeError(
        f"{where} must import without an error, but it raised {described(error)}. Fix it, then run the "
        "same command again."
    )
