"""Progress of long work: stages report to a `Progress`, and the caller decides how to show it."""

from __future__ import annotations

import warnings
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager

Advance = Callable[[int], None]


class Progress(ABC):
    """Receiver of progress reports from the stages."""

    @abstractmethod
    def stage(self, description: str, total: int) -> AbstractContextManager[Advance]:
        """Open a stage of `total` steps, and yield a function to call with the number of steps just done."""

    @abstractmethod
    def note(self, text: str) -> None:
        """Show the user one sentence about the work."""


class Silent(Progress):
    """Progress that shows nothing."""

    @contextmanager
    def stage(self, description: str, total: int) -> Iterator[Advance]:
        yield lambda steps: None

    def note(self, text: str) -> None:
        pass


def quiet_libraries() -> None:
    """Turn off the progress bars and notices of other libraries; Duelist shows its own."""
    import datasets
    import transformers

    warnings.filterwarnings("ignore", category=FutureWarning)
    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()
    datasets.disable_progress_bars()
