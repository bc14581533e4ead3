"""Look-ups that may fail or be left out: what is not prepared yet, on the Hub without a network, or needs torch."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

from duelist.errors import DuelistError

PREPARED = "{prepared}"  # in a recipe: the folder that `prepare.function` fills
Found = TypeVar("Found")


@dataclass(frozen=True)
class Lookups:
    """Look-ups of resources. Resources on this machine must be usable; those on the Hub may be unavailable.

    Attributes:
        offline_ok: whether a name on the Hub that cannot be loaded is a note; otherwise it is an error.
        libraries: whether a check may import torch, transformers and TRL, which takes about ten seconds.
        notes: failed look-ups, each with its reason.
        unchecked: checks left out because they need these libraries.
    """

    offline_ok: bool = True
    libraries: bool = True
    notes: list[str] = field(default_factory=list)
    unchecked: list[str] = field(default_factory=list)

    def may_import(self, what: str) -> bool:
        """Return whether a check may import the libraries of models; if not, record that `what` is not checked."""
        if not self.libraries and what not in self.unchecked:
            self.unchecked.append(what)
        return self.libraries

    def read(
        self, name: str | None, read: Callable[[], Found], what: str, endings: tuple[str, ...] = ()
    ) -> Found | None:
        """Return the result of `read`, or None if the resource is unavailable.

        Args:
            name: a path or a name on the Hub; None if only this machine is needed.
            read: reads the resource.
            what: the subject of a note, such as "The prompts are".
            endings: endings of names that can only be paths.

        Raises:
            DuelistError: if the resource is available but not usable.
        """
        if PREPARED in (name or ""):
            return None
        try:
            return read()
        except DuelistError as error:
            if name is None or is_local(name, endings) or not self.offline_ok:
                raise
            self.notes.append(f"{what} out of reach here: {str(error).splitlines()[0]}")
            return None


def is_local(name: str, endings: tuple[str, ...] = ()) -> bool:
    """Return whether a path or Hub name can only be a path, or is an existing path."""
    return name.startswith(("/", ".", "~")) or name.endswith(endings or ("/",)) or Path(name).exists()
