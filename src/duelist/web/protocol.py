"""HTTP/1.1 whose requests must begin in time."""

from __future__ import annotations

import asyncio
from typing import Any, final

import h11
from uvicorn.protocols.http.h11_impl import H11Protocol

HEAD_SECONDS = 10.0


@final
class TimelyHeads(H11Protocol):
    """Connection that is closed if a request's head (its first line and headers) is not there within `HEAD_SECONDS`.

    Uvicorn waits without end for a head: a few hundred clients that send one byte a minute would take every connection.
    Between two requests, it closes a silent connection by itself.
    """

    _deadline: asyncio.TimerHandle | None = None

    def connection_made(self, transport: Any) -> None:
        """Await the first head."""
        super().connection_made(transport)
        self._await_head()

    def data_received(self, data: bytes) -> None:
        """Await the rest of the head, if it is not complete."""
        super().data_received(data)
        if self.conn.their_state is h11.IDLE:
            self._await_head()
        else:
            self._head_came()

    def connection_lost(self, exc: Exception | None) -> None:
        """Await nothing more."""
        self._head_came()
        super().connection_lost(exc)

    def _await_head(self) -> None:
        if self._deadline is None:
            self._deadline = self.loop.call_later(HEAD_SECONDS, self.transport.close)

    def _head_came(self) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None
