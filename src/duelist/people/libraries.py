"""Optional libraries of the statistics, imported when they are first needed."""

from __future__ import annotations

from importlib import import_module
from importlib.util import find_spec
from typing import Any

from duelist.errors import ModelError


def optional_library(module: str, package: str, purpose: str) -> Any:
    """Return a module of an optional library.

    Args:
        module: dotted name of the module.
        package: name of the package that `pip` installs.
        purpose: what it is needed for; begins the message.

    Raises:
        ModelError: if the library is not installed.
    """
    if find_spec(module.partition(".")[0]) is None:
        raise ModelError(
            f"{purpose} needs the library {package}, but it is not installed: `pip install {package}`, or install "
            "Duelist's extra `annotate`."
        )
    return import_module(module)
