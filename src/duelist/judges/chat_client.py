"""Requests to an OpenAI-compatible chat completions API: retries, pauses, a journal of all, and what they cost.

A request is built once and never changed: a retry sends the same bytes. So it cannot change the order of two responses.
"""

from __future__ import annotations

import json
import random
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from threading import Event, Lock
from typing import Any

import httpx2

from duelist.errors import ModelError
from duelist.judges.cache import Kept, VerdictCache
from duelist.judges.config import JudgeConfig
from duelist.types import content_id

FIRST_PAUSE, LONGEST_PAUSE, LONGEST_WAIT = 1.0, 60.0, 600.0  # seconds; the last: what a server may ask for
LARGEST_ANSWER = 2**24  # bytes
MOST_TOKENS = 2**40  # a larger count is none
_AGAIN = {408, 409, 425, 429}
_THIS_REQUEST = {400, 413, 422}  # the server refuses what is in this request: too long, or against its rules


@dataclass(frozen=True)
class ChatRequest:
    """A request, complete.

    Attributes:
        body: the bytes to send.
        key: hash of the server's address, the body and what the answer must have.
    """

    body: bytes
    key: str

    @staticmethod
    def of(config: JudgeConfig, prompt: str, settings: Mapping[str, Any]) -> ChatRequest:
        """Return the request with one user message; settings that are null are left out."""
        content = {
            "model": config.model,
            "messages": [{"role": "user", "content": prompt}],
            **settings,
            **config.extra_body,
        }
        body = json.dumps({k: v for k, v in content.items() if v is not None}, ensure_ascii=False, sort_keys=True)
        return ChatRequest(body.encode(), content_id("chat", config.base_url, body))


class RequestRefused(Exception):
    """Error: the server works, but refuses this request."""


class UnusableAnswer(Exception):
    """Error: the server answered, but not what was asked for."""


Usable = Callable[[Mapping[str, Any]], bool]


class ChatClient:
    """Client of one server. Threads may share it.

    Args:
        config: the judge's settings.
        headers: sent with every request, such as the API key.
        cache: cache and journal.
        judge: the judge's name there.
        transport: transport of the requests; None for the network.
        pause: waits so many seconds, for tests; None waits until then or until `stop`.
    """

    def __init__(
        self,
        config: JudgeConfig,
        headers: Mapping[str, str],
        cache: VerdictCache,
        judge: str,
        transport: httpx2.BaseTransport | None = None,
        pause: Callable[[float], None] | None = None,
    ) -> None:
        assert config.base_url is not None
        self._config, self._cache, self._judge = config, cache, judge
        self._stopped = Event()
        self._pause: Callable[[float], Any] = self._stopped.wait if pause is None else pause
        self._lock, self._not_before = Lock(), 0.0
        self._client = httpx2.Client(
            base_url=config.base_url.rstrip("/") + "/",
            timeout=config.timeout,
            headers=dict(headers),
            limits=httpx2.Limits(max_connections=config.concurrency, max_keepalive_connections=config.concurrency),
            transport=transport,
        )

    def stop(self) -> None:
        """End all pauses, so that no request is sent after it."""
        self._stopped.set()

    def close(self) -> None:
        """Close all connections."""
        self._client.close()

    def ask(self, request: ChatRequest, usable: Usable) -> Kept:
        """Return the kept answer, or send the request and keep its answer.

        Args:
            request: the request.
            usable: whether an answer has what was asked for. If not, the request is sent again.

        Raises:
            RequestRefused: if the server refuses this request.
            UnusableAnswer: if no answer was usable; the server is there.
            ModelError: if the server cannot be reached, or refuses every request.
        """
        kept = self._cache.get(request.key)
        if kept is not None:
            return kept
        reason, answered = "", False  # of the last try
        for attempt in range(self._config.retries + 1):
            self._wait()
            number = self._cache.sent(request.key, self._judge)
            try:
                kept, wait, reason = self._once(request, usable, number)
            except (httpx2.HTTPError, _TooSlow) as error:
                self._cache.failed(number)
                wait, reason, answered = None, str(error).removesuffix(".") or type(error).__name__, False
            except BaseException:
                self._cache.failed(number)
                raise
            else:
                answered = not reason.startswith("status")
                if kept is not None:
                    return kept
            if attempt < self._config.retries:
                self._rest(attempt, wait, everybody=reason.startswith("status 429"))
        if answered:
            raise UnusableAnswer(reason)
        raise ModelError(
            f"The judge at {self._config.base_url} must answer, but {self._config.retries + 1} tries of a request "
            f"failed: {reason}. All verdicts so far are kept: fix the server, or raise `timeout` or `retries`, then "
            "run the same command again."
        )

    def _once(self, request: ChatRequest, usable: Usable, number: int) -> tuple[Kept | None, float | None, str]:
        """Send a request; return its answer, or the seconds to wait as the server says and what went wrong."""
        status, headers, text = self._send(request)
        if status in _AGAIN or status >= 500:
            self._cache.failed(number)
            return None, _retry_after(headers), f"status {status}: {text[:300]}"
        if status in _THIS_REQUEST:
            self._cache.failed(number)
            raise RequestRefused(f"status {status}: {text[:300]}")
        if not 200 <= status < 300:
            self._cache.failed(number)
            raise ModelError(
                f"The judge at {self._config.base_url} must answer, but refuses with status {status}: {text[:300]}. "
                "All verdicts so far are kept: correct `base_url`, `model` or the key, then run the same command again."
            )
        try:
            content = json.loads(text)
        except (ValueError, RecursionError):
            content = None
        if not isinstance(content, dict):
            self._cache.failed(number)
            return None, None, f"an answer that is no JSON object: {text[:300]!r}"
        paid = self._paid(content)
        if not usable(content):
            self._cache.failed(number, paid.tokens_in, paid.tokens_out, paid.cost)
            return None, None, f"an answer without what was asked for: {text[:300]!r}"
        self._cache.answered(number, paid)
        return paid, None, ""

    def _send(self, request: ChatRequest) -> tuple[int, httpx2.Headers, str]:
        """Send a request once and read the whole answer within the time limit.

        Raises:
            httpx2.HTTPError: if the connection fails.
            _TooSlow: if the answer does not end in time, or is too large.
        """
        deadline = time.monotonic() + self._config.timeout
        headers = {"Content-Type": "application/json"}
        with self._client.stream("POST", "chat/completions", content=request.body, headers=headers) as answer:
            parts, size = [], 0
            for part in answer.iter_bytes():
                parts.append(part)
                size += len(part)
                if size > LARGEST_ANSWER or time.monotonic() > deadline:
                    raise _TooSlow(f"no end of the answer after {self._config.timeout:g} seconds and {size} bytes")
            return answer.status_code, answer.headers, b"".join(parts).decode(errors="replace")

    def _paid(self, content: Mapping[str, Any]) -> Kept:
        """Return an answer with its tokens, as the server counts them, and their price."""
        usage = content.get("usage")
        given = [usage.get(n) if isinstance(usage, Mapping) else None for n in ("prompt_tokens", "completion_tokens")]
        counts = [n if type(n) is int and 0 <= n < MOST_TOKENS else None for n in given]
        known = [n or 0 for n in counts]
        cost = (known[0] * self._config.price_in + known[1] * self._config.price_out) / 1e6
        kept = {"choices": content.get("choices"), "model": content.get("model"), "counted": None not in counts}
        return Kept(kept, known[0], known[1], cost)

    def _wait(self) -> None:
        """Wait until the time before which the server wants no request."""
        while not self._stopped.is_set():
            with self._lock:
                left = self._not_before - time.monotonic()
            if left <= 0:
                return
            self._pause(left)
        raise ModelError("The judge was stopped before all was judged: run the same command again.")

    def _rest(self, attempt: int, wait: float | None, *, everybody: bool) -> None:
        """Pause before a retry: as long as the server says, or longer after each failure, with jitter.

        If the server has too many requests, all threads wait.
        """
        longest = min(FIRST_PAUSE * 2**attempt, LONGEST_PAUSE)
        seconds = longest * random.uniform(0.5, 1.0) if wait is None else min(wait, LONGEST_WAIT)
        if everybody:
            with self._lock:
                self._not_before = max(self._not_before, time.monotonic() + seconds)
        self._pause(seconds)


class _TooSlow(Exception):
    """Error: the answer did not end in time."""


def _retry_after(headers: httpx2.Headers) -> float | None:
    """Return the seconds that the server asks to wait; None if it does not say."""
    said = headers.get("retry-after", "").strip()
    try:
        return max(0.0, float(said))
    except ValueError:
        pass
    try:
        moment = parsedate_to_datetime(said)
    except (TypeError, ValueError):
        return None
    return max(0.0, (moment - datetime.now(UTC)).total_seconds()) if moment.tzinfo else None
