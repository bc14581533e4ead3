"""What runs in a process of a worker."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any, final

from duelist.engines.base import Batch, Result, Source


@final
class Worker:
    """Holder of what one source loads, until another one is asked for."""

    def __init__(self) -> None:
        """Prepare this process, before a task imports the heavy libraries."""
        os.environ["TOKENIZERS_PARALLELISM"] = "false"
        self._source: Source[Any] | None = None
        self._held: Any = None

    def compute(self, work: tuple[Source[Any], Callable[[Any, Batch], Result]], batch: Batch) -> Result:
        """Return the task's result for a batch; `work` is the source and the task."""
        source, task = work
        if source != self._source:
            held, self._source, self._held = self._held, None, None  # nothing is held if the load fails half-way
            self._held = source.load(held)
            self._source = source
        return task(self._held, batch)
