"""Looking up what a recipe names and may be out of reach: not prepared yet, or on the hub without a network."""

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
    """Looks things up. What is on this machine must be usable; what is on the hub may be out of reach.

    Attributes:
        offline_ok: whether a name on the hub that cannot be loaded is a note; otherwise it is an error.
        notes: what could not be found out, and why.
    """

    offline_ok: bool = True
    notes: list[str] = field(default_factory=list)

    def read(
        self, name: str | None, read: Callable[[], Found], what: str, endings: tuple[str, ...] = ()
    ) -> Found | None:
        """Return what `read` finds under a name, or None if it is out of reach.

        Args:
            name: a path or hub name; None if nothing but this machine is needed.
            read: reads it.
            what: the subject of a note, such as "The prompts are".
            endings: how names end that can only be paths.

        Raises:
            DuelistError: if it is within reach and not usable.
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
    """Whether a path or hub name can only be a path, or is one that exists."""
    return name.startswith(("/", ".", "~")) or name.endswith(endings or ("/",)) or Path(name).exists()
