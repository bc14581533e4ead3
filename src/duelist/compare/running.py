"""Worker pool of a comparison: each process runs one study after another."""

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

# Start fresh processes: forking a process that has used autograd or threads is not safe.
PROCESSES = multiprocessing.get_context("spawn")


@dataclass(frozen=True)
class Outcome:
    """Outcome of a study's run.

    Attributes:
        study: study that ran.
        seconds: duration of the run.
        error: error message; None if the study succeeded.
        details: traceback of an error that a component raised; None otherwise.
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
    """Return the studies in the best starting order: in blocks of `jobs` seeds, arm by arm within a block.

    The first processes then each prepare a different environment instead of waiting for the same one. Seeds still
    finish one after another.
    """
    seeds = list(dict.fromkeys(s.seed for s in studies))
    arms = list(dict.fromkeys(s.arm for s in studies))
    block = {seed: i // jobs for i, seed in enumerate(seeds)}
    return sorted(studies, key=lambda s: (block[s.seed], arms.index(s.arm), seeds.index(s.seed)))


def run_studies(
    studies: Sequence[PlannedStudy], jobs: int, threads: int, on_outcome: Callable[[Outcome], None]
) -> None:
    """Run studies in up to `jobs` processes of `threads` threads each. A failed study does not stop the others.

    A study's result does not depend on earlier studies of its process. The processes end when this function ends, also
    by Ctrl-C, an error or a kill. An interrupted study resumes where it stopped when it runs again.

    Args:
        studies: studies in starting order.
        jobs: maximum number of processes.
        threads: threads per process.
        on_outcome: called when a study ends.
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
    others.close()  # the worker has its own copy; while this one is open, the death of the worker goes unnoticed
    return _Worker(process, own)


def _hand_over(worker: _Worker, todo: deque[PlannedStudy]) -> None:
    worker.study = todo.popleft() if todo else None
    if worker.study is not None:
        with suppress(ConnectionError):  # the worker has died: reading its answer reports that
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
