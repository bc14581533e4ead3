"""Which worker of Ray gets which batch, and what happens to a batch that failed."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, final

from duelist.errors import DuelistError, EngineError, described
from duelist.progress import Progress

AHEAD = 2  # rounds of all workers that may be done or in hand beyond the next result


@dataclass(frozen=True)
class _Given:
    """A batch in the hand of a worker."""

    index: int
    worker: Any


@final
class Dispatch:
    """One map over the workers, which stay for the next one.

    Args:
        ray: the module.
        workers: the workers; a dead one is replaced in this list.
        new_worker: makes one.
        queued: batches that a worker has in hand at most.
        retries: further tries of a batch.
        progress: is told of failures that were recovered from.
    """

    def __init__(
        self,
        ray: Any,
        workers: list[Any],
        new_worker: Callable[[], Any],
        queued: int,
        retries: int,
        progress: Progress,
    ) -> None:
        self._ray = ray
        self._workers = workers
        self._new_worker = new_worker
        self._queued = queued
        self._retries = retries
        self._progress = progress
        self._given: dict[Any, _Given] = {}
        self._failures: Counter[int] = Counter()

    def results(self, work: Any, batches: Sequence[Any]) -> Iterator[Any]:
        """Yield the result of each batch, in the order of the batches.

        Args:
            work: reference to the source and the task.
            batches: the batches.

        Raises:
            DuelistError: that the task raised.
            EngineError: if a batch failed more often than it may.
        """
        window = len(self._workers) * self._queued * (1 + AHEAD)
        waiting, done = list(range(len(batches) - 1, -1, -1)), dict[int, Any]()
        for index in range(len(batches)):
            while index not in done:
                while waiting and waiting[-1] < index + window and (worker := self._free()) is not None:
                    given = _Given(waiting.pop(), worker)
                    self._given[worker.compute.remote(work, batches[given.index])] = given
                for reference in self._ray.wait(list(self._given), num_returns=1)[0]:
                    given = self._given.pop(reference)
                    try:
                        done[given.index] = self._ray.get(reference)
                    except self._ray.exceptions.RayError as error:
                        self._failed(given, error)
                        waiting = sorted([*waiting, given.index], reverse=True)
            yield done.pop(index)

    def _free(self) -> Any:
        """Return the worker with the fewest batches in hand; None if all have as many as they may."""
        load = Counter(id(given.worker) for given in self._given.values())
        least = min(self._workers, key=lambda worker: load[id(worker)])
        return least if load[id(least)] < self._queued else None

    def _failed(self, given: _Given, error: Any) -> None:
        """Replace the worker if it died, unless that is done already.

        Raises:
            DuelistError: if the task raised it.
            EngineError: if the batch failed more often than it may.
        """
        raised = isinstance(error, self._ray.exceptions.RayTaskError)  # by the task; else the worker is lost
        if raised and isinstance(error.cause, DuelistError):
            raise error.cause
        reason = described(error.cause) if raised else f"its worker ended ({type(error).__name__})"
        self._failures[given.index] += 1
        if self._failures[given.index] > self._retries:
            raise EngineError(
                f"Every batch must be computed within {1 + self._retries} tries, but one failed each time, at last "
                f"because {'of ' if raised else ''}{reason}: look for memory that is too small (lower `max_tokens` or "
                "`engine.workers`) or a fault of that machine. Nothing recorded is lost: run the same command again."
            ) from error
        if raised:
            self._progress.note(f"A batch failed and is tried again: {reason}")
        elif given.worker in self._workers:
            self._progress.note("A worker ended before its work was done, and was replaced.")
            with suppress(Exception):  # it may only be out of reach
                self._ray.kill(given.worker)
            self._workers[self._workers.index(given.worker)] = self._new_worker()
