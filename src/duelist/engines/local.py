"""Computation in this process, batch after batch."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import ClassVar, final

from duelist.engines.base import Batch, Engine, Held, Result, Source
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
        held = source.load(None) if batches else None
        for batch in batches:
            assert held is not None
            yield task(held, batch)
