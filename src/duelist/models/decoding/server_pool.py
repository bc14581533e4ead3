"""Several servers that serve the same models: each request goes to the least loaded one that is up."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TypeVar, final

from duelist.models.decoding.completion_server import CompletionServer, ServerFailed

Answer = TypeVar("Answer")


@dataclass
class _Seat:
    """A server and what is known of it.

    Attributes:
        server: the server.
        failure: why it is down; None while it is up.
        in_flight: the number of requests under way.
        check_at: when a server that is down is checked again.
        checking: whether a thread is checking it.
        generation: how often it came up. A late failure of a request from before says nothing of the server now.
        proven: whether it answered since it came up.
    """

    server: CompletionServer
    failure: str | None = "it was not asked"
    in_flight: int = 0
    check_at: float = 0.0
    checking: bool = False
    generation: int = 0
    proven: bool = False


@final
class ServerPool:
    """Servers that are interchangeable: a request that fails on one is sent to another.

    A server that failed is checked at once, as it may have been started anew, and then every `recheck` seconds. Once it
    answers, it is made ready again and gets requests. Threads may ask at the same time.

    Args:
        servers: the servers.
        concurrency: maximum number of requests in flight at each.
        recheck: seconds between two checks of a server that is down.
        ready: makes a server ready for the requests, such as by loading adapters. It may find that it already is.
        clock: the time in seconds.

    Attributes:
        failures: what happened to servers that failed, in words.
    """

    def __init__(
        self,
        servers: Sequence[CompletionServer],
        concurrency: int,
        recheck: float,
        ready: Callable[[CompletionServer], None],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.failures: list[str] = []
        self._seats = [_Seat(server) for server in servers]
        self._concurrency = concurrency
        self._recheck = recheck
        self._ready = ready
        self._clock = clock
        self._changed = threading.Condition()

    def prepare(self) -> None:
        """Make all servers ready at the same time. Those that fail are down.

        Raises:
            ServerFailed: if all fail.
            Exception: what `ready` raises for a server that is up but cannot serve what is needed.
        """
        with ThreadPoolExecutor(len(self._seats)) as threads:
            for seat in self._seats:
                seat.checking = True
            errors = list(threads.map(self._check, self._seats))
        for error in errors:
            if error is not None and not isinstance(error, ServerFailed):
                raise error
        with self._changed:
            self._require_hope()

    def ask(self, send: Callable[[CompletionServer], Answer]) -> Answer:
        """Call `send` with a server until it returns, and return its result.

        Raises:
            ServerFailed: if every server is down.
        """
        while True:
            with self._place() as (seat, generation):
                try:
                    answer = send(seat.server)
                except ServerFailed as error:
                    self._down(seat, generation, str(error))
                    continue
                seat.proven = seat.proven or generation == seat.generation
                return answer

    @property
    def up(self) -> list[CompletionServer]:
        """The servers that are up."""
        return [seat.server for seat in self._seats if seat.failure is None]

    @contextmanager
    def _place(self) -> Iterator[tuple[_Seat, int]]:
        seat, generation = self._take()
        try:
            yield seat, generation
        finally:
            with self._changed:
                seat.in_flight -= 1
                self._changed.notify_all()

    def _take(self) -> tuple[_Seat, int]:
        """Wait for a place at the least loaded server; meanwhile check those that are due."""
        while True:
            with self._changed:
                due = next((s for s in self._seats if self._is_due(s)), None)
                if due is None:
                    self._require_hope()
                    free = [s for s in self._seats if s.failure is None and s.in_flight < self._concurrency]
                    if free:
                        seat = min(free, key=lambda s: s.in_flight)
                        seat.in_flight += 1
                        return seat, seat.generation
                    self._changed.wait()
                    continue
                due.checking = True
            self._check(due)

    def _is_due(self, seat: _Seat) -> bool:
        return seat.failure is not None and not seat.checking and self._clock() >= seat.check_at

    def _require_hope(self) -> None:
        if all(s.failure is not None and not s.checking for s in self._seats):
            if len(self._seats) == 1:
                raise ServerFailed(str(self._seats[0].failure))
            raise ServerFailed("; ".join(f"{s.server.url}: {s.failure}" for s in self._seats))

    def _check(self, seat: _Seat) -> Exception | None:
        """Make a server ready, and return why it is not."""
        error: Exception | None = None
        try:
            self._ready(seat.server)
        except Exception as failure:
            error = failure
        with self._changed:
            seat.checking = False
            if error is None:
                seat.failure, seat.proven = None, False
                seat.generation += 1
            else:
                seat.failure, seat.check_at = str(error), self._clock() + self._recheck
            self._changed.notify_all()
        return error

    def _down(self, seat: _Seat, generation: int, failure: str) -> None:
        with self._changed:
            if generation != seat.generation or seat.failure is not None:
                return
            seat.failure = failure
            seat.check_at = self._clock() + (0.0 if seat.proven else self._recheck)
            self.failures.append(f"The server at {seat.server.url} failed: {failure.removesuffix('.')}.")
            self._changed.notify_all()
