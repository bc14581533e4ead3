"""A child process that samples, selects and trains, so that the server answers votes meanwhile."""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from multiprocessing.connection import Connection, wait
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, final

from duelist.errors import DuelistError
from duelist.progress import Advance, Progress, quiet_libraries

if TYPE_CHECKING:
    from duelist.study.study import Study

Task = Literal["ask", "ask_ahead", "update"]

# Start a fresh process: it inherits neither the server's threads nor its connections to the database.
PROCESSES = multiprocessing.get_context("spawn")


@final
class Worker:
    """Computes the stages of a study that this process has open. One task at a time; a context manager."""

    def __init__(self, folder: Path, on_note: Callable[[str], None]) -> None:
        self._folder, self._on_note = folder, on_note
        self._process: multiprocessing.process.BaseProcess | None = None
        self._connection: Connection | None = None

    def __enter__(self) -> Worker:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def run(self, task: Task, stopping: Callable[[], bool] = lambda: False) -> bool:
        """Compute a task, and return whether it was completed: not, if `stopping` became true.

        Raises:
            DuelistError: the study's own error, or that the process died.
        """
        if self._process is None or not self._process.is_alive():
            self._start()
        assert self._connection is not None and self._process is not None
        self._connection.send(task)
        while True:
            ready = wait([self._connection, self._process.sentinel], timeout=0.5)
            if stopping():
                self.stop()
                return False
            if self._connection in ready:
                try:
                    kind, content = self._connection.recv()
                except EOFError:
                    ready = [self._process.sentinel]
                else:
                    if kind == "note":
                        self._on_note(content)
                        continue
                    if kind == "error":
                        raise DuelistError(content)
                    return True
            if self._process.sentinel in ready:
                self._process.join()
                code = self._process.exitcode
                raise DuelistError(
                    f"The process that computes the study must finish its work, but it died (exit code {code}; -9: "
                    "often for want of memory). No answer is lost: run the same command again."
                )

    def stop(self) -> None:
        """End the process; a task in progress is left, and computed again when the study goes on."""
        if self._process is not None:
            self._process.terminate()
            self._process.join()
        if self._connection is not None:
            self._connection.close()
        self._process = self._connection = None

    def _start(self) -> None:
        self.stop()
        own, childs = PROCESSES.Pipe()
        # Not a daemon: it may need processes of its own, to load data say. It ends with its parent nevertheless.
        self._process = PROCESSES.Process(target=_serve, args=(self._folder, childs), name="duelist-worker")
        self._process.start()
        childs.close()
        self._connection = own


@final
class _Sent(Progress):
    """Progress that is sent to the parent."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    @contextmanager
    def stage(self, description: str, total: int) -> Iterator[Advance]:
        self._connection.send(("note", f"{description} ({total})"))
        yield lambda steps: None

    def note(self, text: str) -> None:
        self._connection.send(("note", text))


def _serve(folder: Path, connection: Connection) -> None:
    """Compute tasks until the parent ends: the study's lock ends with it."""
    parent = multiprocessing.parent_process()
    assert parent is not None
    threading.Thread(target=_end_with, args=(parent.sentinel,), daemon=True).start()
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the parent, which ends this process
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    quiet_libraries()
    from duelist.study.study import Study

    study = Study.open_for_parent(folder, _Sent(connection))
    try:
        while True:
            task: Task = connection.recv()
            try:
                _compute(study, task)
            except Exception as error:
                expected = isinstance(error, DuelistError)
                connection.send(("error", str(error) if expected else traceback.format_exc()))
            else:
                connection.send(("done", None))
    except (EOFError, OSError):
        os._exit(0)


def _compute(study: Study, task: Task) -> None:
    if task == "update":
        study.update()
    elif task == "ask":
        study.ask()
    else:
        study.ask_ahead()


def _end_with(sentinel: Any) -> None:
    wait([sentinel])
    os._exit(1)
