"""Requests that the annotation server refuses: a status, a code for the page, and a message for the person."""

from __future__ import annotations

from duelist.errors import DuelistError


class RefusedError(DuelistError, ValueError):
    """A request has no meaning in the present state, or is not allowed.

    Attributes:
        status: HTTP status.
        code: word that the page acts on.
        retry_seconds: when to try again; None if it makes no sense.
    """

    def __init__(self, status: int, code: str, message: str, retry_seconds: int | None = None) -> None:
        super().__init__(message)
        self.status, self.code, self.retry_seconds = status, code, retry_seconds


class ImportRefusedError(RefusedError):
    """One of several answers given elsewhere cannot be recorded, so none of them is.

    Attributes:
        position: its place among them, from 0.
    """

    def __init__(self, position: int, why: RefusedError) -> None:
        super().__init__(why.status, why.code, str(why))
        self.position = position


def invalid(message: str) -> RefusedError:
    """Return the refusal of a request whose content is not usable."""
    return RefusedError(422, "invalid", message)


def conflict(code: str, message: str) -> RefusedError:
    """Return the refusal of a request that the present state does not allow."""
    return RefusedError(409, code, message)
