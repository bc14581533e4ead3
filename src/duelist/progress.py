"""Progress of long work: the stages report to a `Progress`, the caller decides what is shown."""

from __future__ import annotations

import warnings
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


def quiet_libraries() -> None:
    """Keep the libraries' own bars and notices off the terminal: Duelist shows its own."""
    import datasets
    import transformers

    warnings.filterwarnings("ignore", category=FutureWarning)
    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()
    datasets.disable_progress_bars()
