"""What runs in a process of a worker."""

from __future__ import annotations

import os
from collections.abc import Callable, Hashable
from typing import Any, final

from duelist.engines.base import Batch, Result, Source


@final
class Worker:
    """Holder of what sources load: of each kind, until another one of that kind is asked for."""

    def __init__(self) -> None:
        """Prepare this process, before a task imports the heavy libraries."""
        os.environ["TOKENIZERS_PARALLELISM"] = "false"
        self._held: dict[Hashable, tuple[Source[Any], Any]] = {}

    def compute(self, work: tuple[Source[Any], Callable[[Any, Batch], Result]], batch: Batch) -> Result:
        """Return the task's result for a batch; `work` is the source and the task."""
        source, task = work
        kind = source.kind
        if kind not in self._held or self._held[kind][0] != source:
            _, held = self._held.pop(kind, (None, None))  # nothing is held if the load fails half-way
            self._held[kind] = source, source.load(held)
        return task(self._held[kind][1], batch)
