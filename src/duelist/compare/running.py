"""Run many studies in processes of their own: each process runs one study after the other."""

from __future__ import annotations

import multiprocessing
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from multiprocessing import connection
from typing import Any

from duelist.compare.arms import PlannedStudy
from duelist.compare.worker import serve
from duelist.recipe.recipe import recipe_content

# A process of its own that has nothing of this one's: forking one that has used autograd or threads is not safe.
PROCESSES = multiprocessing.get_context("spawn")


@dataclass(frozen=True)
class Outcome:
    """What came of a study.

    Attributes:
        study: the study.
        seconds: it took this time.
        error: None, or why it failed.
        details: the traceback of an error that a component raised.
    """

    study: PlannedStudy
    seconds: float
    error: str | None
    details: str | None


@dataclass
class _Worker:
    process: Any
    jobs: connection.Connection
    study: PlannedStudy | None = None


def in_order(studies: Sequence[PlannedStudy], jobs: int) -> list[PlannedStudy]:
    """The studies as they are best begun: in blocks of as many seeds as there are processes, arm by arm in a block.

    So the first processes prepare a world each, instead of waiting for one another's, and seeds still become complete
    one after the other.
    """
    seeds = list(dict.fromkeys(s.seed for s in studies))
    arms = list(dict.fromkeys(s.arm for s in studies))
    block = {seed: i // jobs for i, seed in enumerate(seeds)}
    return sorted(studies, key=lambda s: (block[s.seed], arms.index(s.arm), seeds.index(s.seed)))


def run_studies(
    studies: Sequence[PlannedStudy], jobs: int, threads: int, on_outcome: Callable[[Outcome], None]
) -> None:
    """Run studies in up to `jobs` processes of `threads` threads each. One that fails does not keep the others.

    A study's result does not depend on what its process has run before. However this function is left (Ctrl-C, an
    error, a kill), the processes end; a study that was running goes on where it was when it is next run.

    Args:
        studies: in the order in which they are begun.
        jobs: processes.
        threads: threads of each.
        on_outcome: called as each study ends.
    """
    todo = deque(studies)
    workers = [_start(threads) for _ in range(min(jobs, len(todo)))]
    try:
        for worker in workers:
            _hand_over(worker, todo)
        while busy := [w for w in workers if w.study is not None]:
            ready = connection.wait([w.jobs for w in busy])
            for worker in (w for w in busy if w.jobs in ready):
                on_outcome(_outcome(worker))
                if worker.process.exitcode is not None and todo:
                    workers[workers.index(worker)] = worker = _start(threads)
                _hand_over(worker, todo)
    finally:
        for worker in workers:
            worker.jobs.close()
            worker.process.terminate()
        for worker in workers:
            worker.process.join()


def _start(threads: int) -> _Worker:
    own, others = PROCESSES.Pipe()
    process = PROCESSES.Process(target=serve, args=(others, threads), daemon=True)
    process.start()
    others.close()  # the process has the other end; as long as this one has it too, its death would not show
    return _Worker(process, own)


def _hand_over(worker: _Worker, todo: deque[PlannedStudy]) -> None:
    worker.study = todo.popleft() if todo else None
    if worker.study is not None:
        with suppress(ConnectionError):  # it has died since: that shows when its answer is read
            worker.jobs.send((worker.study.folder, recipe_content(worker.study.recipe)))


def _outcome(worker: _Worker) -> Outcome:
    assert worker.study is not None
    try:
        answer = worker.jobs.recv()
    except (EOFError, ConnectionError):
        worker.process.join()
        error = (
            f"Its process must live until the study is done, but it ended with exit code {worker.process.exitcode} "
            "(-9 is often want of memory): use fewer --jobs, then run the same command again."
        )
        return Outcome(worker.study, 0.0, error, None)
    return Outcome(worker.study, answer["seconds"], answer["error"], answer["details"])
