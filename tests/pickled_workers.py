"""Workers in this process to which everything is pickled, as to those of another process."""

from __future__ import annotations

import pickle
from collections.abc import Callable, Iterator, Sequence
from typing import Any, TypeVar

from duelist.engines.base import Batch, Engine, Held, Result, Source
from duelist.engines.worker import Worker
from duelist.progress import Progress

T = TypeVar("T")


class PickledWorkers(Engine):
    """Engine whose workers take the batches in turn.

    Attributes:
        batches: number of batches that each worker computed.
        sources: of every map, the kind of its source.
    """

    def __init__(self, workers: int = 2) -> None:
        self.workers = [Worker() for _ in range(workers)]
        self.batches = [0] * workers
        self.sources: list[Any] = []

    def map(
        self, source: Source[Held], task: Callable[[Held, Batch], Result], batches: Sequence[Batch], progress: Progress
    ) -> Iterator[Result]:
        self.sources.append(source.kind)
        work = sent((source, task))
        for i, batch in enumerate(batches):
            at = i % len(self.workers)
            self.batches[at] += 1
            yield sent(self.workers[at].compute(work, sent(batch)))

    def held(self, worker: int) -> list[Any]:
        """Return what a worker holds."""
        return [held for _, held in self.workers[worker]._held.values()]


def sent(value: T) -> T:
    """Return the value as another process gets it."""
    found: T = pickle.loads(pickle.dumps(value))
    return found
