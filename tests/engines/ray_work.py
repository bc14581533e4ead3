"""Work for Ray's workers that fails or dies in the middle of a batch, once or always."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from duelist.engines.base import Batch, Engine, Held, Result, Source
from duelist.engines.ray import RayConfig, RayEngine
from duelist.progress import Progress


def once(flag: Path) -> bool:
    """Whether this is the first call for this flag, in any process."""
    try:
        flag.touch(exist_ok=False)
    except FileExistsError:
        return False
    return True


@dataclass(frozen=True)
class DiesOnce:
    """A task that, at one of its batches, computes the result and kills its process with -9 before returning it."""

    task: Callable[[Any, Any], Any]
    flag: Path
    at: Any = None  # the batch; None: the first one of any worker

    def __call__(self, held: Any, batch: Any) -> Any:
        result = self.task(held, batch)
        if (self.at is None or batch == self.at) and once(self.flag):
            os.kill(os.getpid(), signal.SIGKILL)
        return result


def dies(held: Any, batch: Any) -> None:
    """Kill the worker at every batch."""
    os.kill(os.getpid(), signal.SIGKILL)


@dataclass(frozen=True)
class FailsOnce:
    """A task that raises an error that is not Duelist's at its first batch."""

    task: Callable[[Any, Any], Any]
    flag: Path

    def __call__(self, held: Any, batch: Any) -> Any:
        if once(self.flag):
            raise OSError("a hiccup")
        return self.task(held, batch)


def fails(held: Any, batch: Any) -> None:
    """Fail at every batch."""
    raise OSError("always")


@dataclass(frozen=True)
class Begun:
    """A task that leaves a file for each batch that was begun."""

    folder: Path

    def __call__(self, held: Any, batch: int) -> int:
        (self.folder / str(batch)).touch()
        return batch


class DyingConfig(RayConfig):
    """Settings of `DyingRay`."""

    flags: str


class DyingRay(Engine):
    """The engine `ray`, of which a worker is killed in the middle of a batch of each kind of task."""

    def __init__(self, config: DyingConfig) -> None:
        self.flags = Path(config.flags)
        self.inner = RayEngine(RayConfig(**{k: v for k, v in config.model_dump().items() if k != "flags"}))

    def map(
        self, source: Source[Held], task: Callable[[Held, Batch], Result], batches: Sequence[Batch], progress: Progress
    ) -> Iterator[Result]:
        dying = DiesOnce(task, self.flags / type(task).__name__)
        return self.inner.map(source, dying, batches, progress)

    def close(self) -> None:
        self.inner.close()
