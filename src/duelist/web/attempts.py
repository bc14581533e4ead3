"""Rate limit on wrong personal tokens, per address and for all addresses together."""

from __future__ import annotations

from collections import deque
from threading import Lock

from duelist.web.journal import Clock
from duelist.web.refusals import RefusedError

_MOST_ADDRESSES = 10_000


class Attempts:
    """Wrong tokens of the last minute. The limit keeps guessing off the CPU: a token of 256 bits cannot be guessed."""

    def __init__(self, clock: Clock, per_address: int = 10, in_all: int = 200, seconds: float = 60.0) -> None:
        self._clock, self._per_address, self._in_all, self._seconds = clock, per_address, in_all, seconds
        self._wrong: dict[str, deque[float]] = {}
        self._lock = Lock()

    def check(self, address: str) -> None:
        """Refuse an address that was wrong too often.

        Raises:
            RefusedError: 429 `too_many`, with the seconds to wait.
        """
        with self._lock:
            now = self._clock().timestamp()
            for known in [a for a, times in self._wrong.items() if times[-1] <= now - self._seconds]:
                del self._wrong[known]
            own = self._recent(address, now)
            total = sum(map(len, self._wrong.values()))
            if len(own) >= self._per_address or total >= self._in_all or len(self._wrong) >= _MOST_ADDRESSES:
                wait = int(self._seconds - (now - own[0])) + 1 if own else int(self._seconds)
                raise RefusedError(
                    429, "too_many", f"A personal link must be right, but too many were wrong: wait {wait} s.", wait
                )

    def wrong(self, address: str) -> None:
        """Count a wrong token."""
        with self._lock:
            self._wrong.setdefault(address, deque()).append(self._clock().timestamp())

    def _recent(self, address: str, now: float) -> deque[float]:
        times = self._wrong.get(address, deque())
        while times and times[0] <= now - self._seconds:
            times.popleft()
        return times
