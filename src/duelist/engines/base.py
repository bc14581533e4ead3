"""Interface of an engine, which maps batches over workers that each hold the model once."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Generator, Hashable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from typing import Any, ClassVar, Generic, Protocol, TypeVar, final

from duelist.errors import RecipeError
from duelist.progress import Progress
from duelist.settings.context import Checked

Held = TypeVar("Held")  # what a worker holds: a model
Held_co = TypeVar("Held_co", covariant=True)
Batch = TypeVar("Batch")
Result = TypeVar("Result")


class Source(ABC, Generic[Held]):
    """How a worker gets what it holds. Sources are compared with ==: an equal one is not loaded again."""

    @property
    def kind(self) -> Hashable:
        """What a worker replaces by what this loads: that of an earlier source of this kind. It holds one of each."""
        return type(self)

    def sharded(self, processes: int) -> tuple[Source[Held], str] | None:
        """Return how processes get it of which each holds a part (`engines.sharded`), and the kind of their devices.

        None if it cannot be divided.
        """
        return None

    @abstractmethod
    def load(self, held: Held | None) -> Held:
        """Return what the tasks need.

        Args:
            held: what the worker holds from an earlier source of this kind, which may be changed; None at first.
        """


@final
@dataclass(frozen=True, eq=False)
class InMemory(Source[Held]):
    """A model of this process, which no other process can get."""

    held: Held

    def load(self, held: Held | None) -> Held:
        return self.held

    def __reduce__(self) -> Any:
        raise RecipeError(
            "Workers read the model from a study's folder, but this one is only in memory: use the engine `local`."
        )


def prepared(task: Callable[[Held, Any], Any], held: Held) -> AbstractContextManager[Any]:
    """Return the state of what is held in which a task computes: that of its method `prepared`, if it has one.

    A task brings it about for each batch, and changes nothing where it is there already. An engine may enter it once
    for many batches, which is faster, if nobody else uses what is held in between.
    """
    own = getattr(task, "prepared", None)
    return nullcontext() if own is None else own(held)


@contextmanager
def ended(results: Iterator[Result]) -> Iterator[None]:
    """End a map with the block, also if an error leaves it early, whose traceback would keep the map as it is.

    Until then its processes run on, and the model that is held stays in the state in which the task computes.

    Args:
        results: the results of the map, which the block reads.
    """
    try:
        yield
    finally:
        if isinstance(results, Generator):
            results.close()


class Engine(Checked, ABC):
    """Computation of map-shaped work.

    Results depend on the source, the task and the batches alone: not on the number of workers, on who computed a batch,
    on when it was finished, or on a worker that was lost. `duelist.testing.check_engine` tests an engine of your own.

    Attributes:
        in_process: whether tasks run in this process. If not, large results are passed in files.
    """

    in_process: ClassVar[bool] = False

    @abstractmethod
    def map(
        self,
        source: Source[Held],
        task: Callable[[Held, Batch], Result],
        batches: Sequence[Batch],
        progress: Progress,
    ) -> Iterator[Result]:
        """Yield `task(held, batch)` for each batch, in the order of the batches.

        Args:
            source: how a worker gets what it holds. It can be pickled, unless it is `InMemory`.
            task: can be pickled, and its result depends on its two arguments only.
            batches: can be pickled.
            progress: is told of failures that were recovered from. The caller reports the batches that are done.

        Raises:
            DuelistError: that a task raised.
            EngineError: if a batch fails again and again.
        """

    def close(self) -> None:
        """Release the workers. The engine may be used again, which starts new ones."""


class Compute(Protocol[Held_co]):
    """`Engine.map` of one source: yields `task(held, batch)` for each batch, in the order of the batches."""

    def __call__(
        self, task: Callable[[Held_co, Batch], Result], batches: Sequence[Batch], progress: Progress, /
    ) -> Iterator[Result]: ...
