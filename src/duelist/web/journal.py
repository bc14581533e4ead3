"""The ledger and the state derived from it, kept in step: decide under the lock, then wait for the commit."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future, wait
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from threading import Condition, RLock

from duelist.web.ledger import Event, Ledger, Receipt
from duelist.web.record import Record, derive

Clock = Callable[[], datetime]


def utc_now() -> datetime:
    """Return the present time, in UTC."""
    return datetime.now(UTC)


@dataclass(frozen=True)
class Written:
    """Events on their way to the disk, and which derivation of the state they were decided on."""

    done: Future[list[Receipt]]
    derivation: int


class Journal:
    """State of the annotation in memory, ahead of the disk by what is being synced.

    Whoever decides holds `lock`, reads `record` and calls `write`; then releases the lock and calls `settle`, and
    acknowledges nothing before. So decisions are serial, while their syncs are shared.
    """

    def __init__(self, ledger: Ledger, clock: Clock = utc_now) -> None:
        self.lock = RLock()
        self.changed = Condition(self.lock)
        self.clock = clock
        self.record: Record = derive(ledger.events())
        self._ledger = ledger
        self._listeners: list[Callable[[], None]] = []
        nothing: Future[list[Receipt]] = Future()
        nothing.set_result([])
        self._latest = Written(nothing, 0)

    def write(self, *events: Event) -> Written:
        """Apply events and queue them for the ledger; the caller holds the lock, and settles what is returned."""
        at = self.clock().isoformat()
        numbered = [replace(e, at=at, number=self.record.number + i) for i, e in enumerate(events, 1)]
        for event in numbered:
            self.record.apply(event)
        self._latest = Written(self._ledger.submit(numbered), self._latest.derivation)
        return self._latest

    def latest(self) -> Written:
        """Return what was written last: when it is safe, so is everything before it."""
        with self.lock:
            return self._latest

    def settle(self, written: Written) -> None:
        """Wait until events are safe on disk; the caller does not hold the lock.

        Raises:
            StorageError: if they could not be written. Then the state is derived anew from what is recorded.
        """
        try:
            written.done.result()
        except Exception:
            self._start_over(written)
            raise
        with self.changed:
            self.changed.notify_all()
        for listener in tuple(self._listeners):
            listener()

    def _start_over(self, failed: Written) -> None:
        with self.changed:
            if failed.derivation != self._latest.derivation:
                return  # another thread has done it
            wait([self._latest.done])
            self._ledger.recover()
            self.record = derive(self._ledger.events())
            nothing: Future[list[Receipt]] = Future()
            nothing.set_result([])
            self._latest = Written(nothing, failed.derivation + 1)
            self.changed.notify_all()

    def subscribe(self, listener: Callable[[], None]) -> Callable[[], None]:
        """Call the listener after every commit, from any thread; return the function that ends this."""
        self._listeners.append(listener)
        return lambda: self._listeners.remove(listener)
