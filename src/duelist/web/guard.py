"""Middleware of every request: body limits, host and origin, security headers, and a log without tokens."""

from __future__ import annotations

import asyncio
import json
import logging
import re
import secrets
from collections.abc import Iterable
from dataclasses import dataclass
from time import monotonic

from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from duelist.web.refusals import RefusedError

LOG = logging.getLogger("duelist.web")
_TOKEN = re.compile(r"^/join/.*", re.S)
_SAFE = ("GET", "HEAD", "OPTIONS")


@dataclass(frozen=True)
class Limits:
    """Limits of a request.

    Attributes:
        body: bytes of a body.
        body_seconds: time for a body to arrive.
        hosts: names in the Host header; empty for any.
        tls: whether browsers reach the server by HTTPS.
    """

    body: int = 64 * 1024
    body_seconds: float = 10.0
    hosts: tuple[str, ...] = ()
    tls: bool = False


class Guard:
    """ASGI middleware around the whole application."""

    def __init__(self, app: ASGIApp, limits: Limits) -> None:
        self._app, self._limits = app, limits

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        began, status = monotonic(), 0
        scope.setdefault("state", {})["nonce"] = nonce = secrets.token_urlsafe(16)

        async def send_safely(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                headers = MutableHeaders(scope=message)
                for name, value in self._headers(nonce):
                    headers[name] = value
                # Scripts and styles are asked for again by their ETag, else an upgrade would leave old ones in use.
                headers["Cache-Control"] = "no-cache" if scope["path"].startswith("/static/") else "no-store"
            await send(message)

        try:
            headers = Headers(scope=scope)
            self._check_host(headers)
            self._check_origin(scope, headers)
            body = await self._body(headers, receive)
        except RefusedError as error:
            await _refuse(error, send_safely)
        else:
            await self._app(scope, _replayed(body, receive), send_safely)
        finally:
            path = _TOKEN.sub("/join/-", scope["path"])
            LOG.info(
                "%s %s %d %.0f ms",
                scope["method"],
                path.encode("unicode_escape").decode(),
                status,
                1000 * (monotonic() - began),
            )

    def _headers(self, nonce: str) -> Iterable[tuple[str, str]]:
        yield (
            "Content-Security-Policy",
            f"default-src 'none'; script-src 'nonce-{nonce}' 'self'; style-src 'self' 'nonce-{nonce}'; "
            "img-src 'self' data:; connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'",
        )
        yield "X-Content-Type-Options", "nosniff"
        yield "X-Frame-Options", "DENY"
        yield "Referrer-Policy", "no-referrer"
        yield "Cross-Origin-Opener-Policy", "same-origin"
        yield "Cross-Origin-Resource-Policy", "same-origin"
        yield "Permissions-Policy", "camera=(), geolocation=(), microphone=(), payment=(), usb=()"
        if self._limits.tls:
            yield "Strict-Transport-Security", "max-age=31536000"

    def _check_host(self, headers: Headers) -> None:
        """Refuse a host that is not ours: a foreign page could otherwise reach a loopback server by its own name."""
        host = _host_name(headers.get("host", ""))
        if self._limits.hosts and host not in self._limits.hosts:
            raise RefusedError(
                400,
                "host",
                f"The host must be one of {', '.join(self._limits.hosts)}, but is {host!r}: open the address "
                "that the server printed.",
            )

    def _check_origin(self, scope: Scope, headers: Headers) -> None:
        if scope["method"] in _SAFE:
            return
        origin, site = headers.get("origin"), headers.get("sec-fetch-site", "same-origin")
        scheme = "https" if self._limits.tls else scope["scheme"]
        own = f"{scheme}://{headers.get('host', '')}".lower()
        if (origin is not None and origin.lower() != own) or site not in ("same-origin", "none"):
            raise RefusedError(
                403, "csrf", "Requests must come from this server's own page, but this one did not: reload."
            )

    async def _body(self, headers: Headers, receive: Receive) -> bytes:
        """Read the whole body, within the limits, however it is sent.

        Raises:
            RefusedError: 413 or 408.
        """
        length = headers.get("content-length", "0")
        if not length.isdecimal() or int(length) > self._limits.body:
            raise self._too_large()
        body = bytearray()
        try:
            async with asyncio.timeout(self._limits.body_seconds):
                while True:
                    message = await receive()
                    if message["type"] == "http.disconnect":
                        raise RefusedError(400, "disconnected", "The request must be complete, but ended early.")
                    body += message.get("body", b"")
                    if len(body) > self._limits.body:
                        raise self._too_large()
                    if not message.get("more_body", False):
                        return bytes(body)
        except TimeoutError:
            raise RefusedError(
                408,
                "slow",
                f"A request must be complete within {self._limits.body_seconds:g} s, but was not: send it again.",
            ) from None

    def _too_large(self) -> RefusedError:
        return RefusedError(413, "too_large", f"A request may have {self._limits.body:,} bytes: shorten the text.")


def error_body(error: RefusedError) -> dict[str, str]:
    """Return the JSON of a refusal."""
    return {"error": error.code, "message": str(error)}


def retry_headers(error: RefusedError) -> dict[str, str]:
    """Return the headers of a refusal."""
    return {} if error.retry_seconds is None else {"Retry-After": str(error.retry_seconds)}


def _host_name(host: str) -> str:
    name = host.lower().strip()
    if name.startswith("["):
        return name.partition("]")[0] + "]"
    return name.partition(":")[0]


def _replayed(body: bytes, receive: Receive) -> Receive:
    sent = False

    async def receive_again() -> Message:
        nonlocal sent
        if sent:
            return await receive()  # the end of the connection
        sent = True
        return {"type": "http.request", "body": body, "more_body": False}

    return receive_again


async def _refuse(error: RefusedError, send: Send) -> None:
    content = json.dumps(error_body(error)).encode()
    headers = [
        (b"content-type", b"application/json"),
        (b"content-length", str(len(content)).encode()),
        (b"connection", b"close"),
    ]
    await send({"type": "http.response.start", "status": error.status, "headers": headers})
    await send({"type": "http.response.body", "body": content})
