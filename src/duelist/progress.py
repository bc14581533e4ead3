"""Progress of long work: the stages report to a `Progress`, the caller decides what is shown."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager

Advance = Callable[[int], None]


class Progress(ABC):
    """Where a stage says how far it is."""

    @abstractmethod
    def stage(self, description: str, total: int) -> AbstractContextManager[Advance]:
        """Open a stage of `total` steps; call what it yields with the number of steps just done."""

    @abstractmethod
    def note(self, text: str) -> None:
        """Tell the user a sentence about the work."""


class Silent(Progress):
    """Shows nothing."""

    @contextmanager
    def stage(self, description: str, total: int) -> Iterator[Advance]:
        yield lambda steps: None

    def note(self, text: str) -> None:
        pass
