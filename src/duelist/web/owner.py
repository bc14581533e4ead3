"""JSON API of the owner's dashboard, and its live events."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from typing import Any

from fastapi import APIRouter, Depends
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import StreamingResponse

from duelist.web.access import Access, Signed
from duelist.web.api import REFUSALS
from duelist.web.dashboard import Statistics, dashboard
from duelist.web.desk import Desk
from duelist.web.page_settings import PageSettings
from duelist.web.refusals import RefusedError
from duelist.web.roster import Roster
from duelist.web.schemas import DoneView, InviteForm, LinkView, OverlapForm, PauseForm, RevokeForm

_PAUSE = 1.0  # seconds between two events at least: the numbers of many votes come together
_KEEP_ALIVE = 15  # pauses without an event after which a comment shows that the connection lives


def owner_api(
    desk: Desk,
    roster: Roster,
    access: Access,
    settings: PageSettings,
    statistics: Statistics | None,
    stopping: Callable[[], bool],
) -> APIRouter:
    """Return the routes that the dashboard calls."""
    routes = APIRouter(responses=REFUSALS, tags=["owner"])
    acting, signed = Depends(access.as_acting_owner), Depends(access.as_owner)

    @routes.get("/api/owner/state")
    def state(who: Signed = signed) -> dict[str, Any]:
        """Return the dashboard's numbers."""
        return dashboard(desk, settings, statistics)

    @routes.post("/api/owner/pause")
    def pause(form: PauseForm, who: Signed = acting) -> DoneView:
        """Stop or resume giving out questions."""
        roster.pause(form.paused)
        return DoneView()

    @routes.post("/api/owner/invite")
    def invite(form: InviteForm, request: Request, who: Signed = acting) -> LinkView:
        """Invite a person; the link is shown once."""
        return LinkView(link=f"{str(request.base_url).rstrip('/')}/join/{roster.invite(form.name, form.role)}")

    @routes.post("/api/owner/revoke")
    def revoke(form: RevokeForm, who: Signed = acting) -> DoneView:
        """End a person's access."""
        if form.name == who.member.name:
            raise RefusedError(409, "yourself", "An owner cannot revoke the own access: another owner can.")
        roster.revoke(form.name)
        return DoneView()

    @routes.post("/api/owner/overlap")
    def overlap(form: OverlapForm, who: Signed = acting) -> DoneView:
        """Ask more people about a question."""
        roster.raise_overlap(form.question_id, form.labels)
        return DoneView()

    @routes.get("/owner/events", response_class=StreamingResponse)
    async def events(request: Request, who: Signed = signed) -> StreamingResponse:
        """Send the dashboard's numbers whenever they change, as server-sent events named `state`."""

        def allowed() -> bool:
            try:
                access.owner(request)
            except RefusedError:
                return False
            return not stopping()

        stream = _events(desk, lambda: dashboard(desk, settings, statistics), allowed)
        return StreamingResponse(stream, media_type="text/event-stream", headers={"X-Accel-Buffering": "no"})

    return routes


async def _events(desk: Desk, state: Callable[[], dict[str, Any]], allowed: Callable[[], bool]) -> AsyncIterator[str]:
    loop, changed = asyncio.get_running_loop(), asyncio.Event()

    def listener() -> None:
        if not loop.is_closed():
            loop.call_soon_threadsafe(changed.set)

    end = desk.journal.subscribe(listener)
    changed.set()
    quiet = 0
    try:
        while allowed():
            if changed.is_set():
                changed.clear()
                quiet = 0
                yield f"event: state\ndata: {json.dumps(await run_in_threadpool(state))}\n\n"
            elif quiet == _KEEP_ALIVE:
                quiet = 0
                yield ": alive\n\n"
            quiet += 1
            await asyncio.sleep(_PAUSE)
    finally:
        end()
