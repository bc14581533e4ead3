"""Computation in this process, batch after batch."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import ClassVar, final

from duelist.engines.base import Batch, Compute, Engine, Held, InMemory, Result, Source, prepared
from duelist.progress import Progress


@final
class Local(Engine):
    """Computation in the study's own process, with its own model."""

    in_process: ClassVar[bool] = True

    def map(
        self,
        source: Source[Held],
        task: Callable[[Held, Batch], Result],
        batches: Sequence[Batch],
        progress: Progress,
    ) -> Iterator[Result]:
        if not batches:
            return
        held = source.load(None)
        with prepared(task, held):
            for batch in batches:
                yield task(held, batch)


def in_process(held: Held) -> Compute[Held]:
    """Return the computation in this process, with what it holds."""
    return partial(Local().map, InMemory(held))
