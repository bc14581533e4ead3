"""Who sends a request: the session's cookie, the CSRF token, the role."""

from __future__ import annotations

from dataclasses import dataclass

from starlette.requests import Request

from duelist.web.desk import Desk
from duelist.web.record import Member
from duelist.web.refusals import RefusedError
from duelist.web.roster import Roster
from duelist.web.tasks import Mode
from duelist.web.tokens import Session, Sessions


@dataclass(frozen=True)
class Signed:
    """A request of somebody who is signed in."""

    member: Member
    session: Session
    mode: Mode = "annotate"


class Access:
    """Checks of a request; those named `as_…` are FastAPI dependencies."""

    def __init__(self, desk: Desk, roster: Roster, sessions: Sessions) -> None:
        self._desk, self._roster, self.sessions = desk, roster, sessions

    def signed(self, request: Request) -> Signed:
        """Return who is signed in, for pages and for requests that change nothing.

        Raises:
            RefusedError: 401 `session_expired`.
        """
        session = self.sessions.read(request.cookies.get(self.sessions.cookie, ""), self._desk.journal.clock())
        member = None if session is None else self._roster.member(session.name)
        if session is None or member is None or not member.active or member.revocations != session.revocations:
            raise RefusedError(
                401,
                "session_expired",
                "You must be signed in, but the session has ended: open your personal link again.",
            )
        return Signed(member, session)

    def acting(self, request: Request) -> Signed:
        """Return who is signed in, for requests that change something.

        Raises:
            RefusedError: 401 `session_expired`, 403 `csrf`, or 403 `forbidden` if the role may not adjudicate.
        """
        signed = self.signed(request)
        mode = self.sessions.mode(signed.session, request.headers.get("x-csrf-token", ""))
        if mode is None:
            raise RefusedError(403, "csrf", "The request must carry its page's CSRF token, but it does not: reload.")
        return Signed(signed.member, signed.session, mode)

    # FastAPI runs what is not `async` in another thread; these checks take microseconds.

    async def as_signed(self, request: Request) -> Signed:
        """Do as `signed`, as a dependency."""
        return self.signed(request)

    async def as_acting(self, request: Request) -> Signed:
        """Do as `acting`, as a dependency."""
        return self.acting(request)

    async def as_owner(self, request: Request) -> Signed:
        """Do as `owner`, as a dependency."""
        return self.owner(request)

    async def as_acting_owner(self, request: Request) -> Signed:
        """Do as `acting`, for an owner, as a dependency.

        Raises:
            RefusedError: 401 `session_expired`, 403 `csrf`, or 403 `forbidden`.
        """
        return _owner(self.acting(request))

    def owner(self, request: Request) -> Signed:
        """Return the owner who is signed in, for what changes nothing.

        Raises:
            RefusedError: 401 `session_expired`, or 403 `forbidden`.
        """
        return _owner(self.signed(request))


def _owner(signed: Signed) -> Signed:
    if signed.member.role != "owner":
        raise forbidden("owner", signed.member)
    return signed


def forbidden(needed: str, member: Member) -> RefusedError:
    """Return the refusal of somebody whose role does not suffice."""
    return RefusedError(403, "forbidden", f"This is for the role {needed}, but {member.name} is {member.role}.")
