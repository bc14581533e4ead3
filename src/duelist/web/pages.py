"""Pages: the personal link, labelling, adjudication, the owner's dashboard."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from fastapi import APIRouter
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from starlette.requests import Request
from starlette.responses import HTMLResponse, RedirectResponse, Response

from duelist.web.access import Access, Signed, forbidden
from duelist.web.attempts import Attempts
from duelist.web.desk import Desk
from duelist.web.guard import retry_headers
from duelist.web.page_settings import PageSettings
from duelist.web.record import Role
from duelist.web.refusals import RefusedError
from duelist.web.rendering import render
from duelist.web.roster import Roster
from duelist.web.tasks import Mode

TEMPLATES = Path(__file__).parent / "templates"
HOME: Mapping[Role, str] = {"annotator": "/", "adjudicator": "/adjudicate", "owner": "/owner"}


class Pages:
    """Renders the templates with the request's nonce."""

    def __init__(self) -> None:
        self._templates = Environment(loader=FileSystemLoader(TEMPLATES), autoescape=True, undefined=StrictUndefined)

    def page(self, request: Request, template: str, status: int = 200, **content: Any) -> HTMLResponse:
        """Return a page."""
        text = self._templates.get_template(template).render(nonce=request.state.nonce, **content)
        return HTMLResponse(text, status)

    def refusal(self, request: Request, error: RefusedError) -> HTMLResponse:
        """Return the page of a refusal."""
        if error.status == 401:
            return self.page(request, "signed_out.html.j2", 401)
        title = "Wait a minute" if error.status == 429 else "This page is not for you"
        page = self.page(request, "message.html.j2", error.status, title=title, text=str(error))
        page.headers.update(retry_headers(error))
        return page


def page_routes(
    desk: Desk, roster: Roster, access: Access, settings: PageSettings, attempts: Attempts, tls: bool
) -> APIRouter:
    """Return the routes of the pages."""
    routes, pages = APIRouter(include_in_schema=False), Pages()

    @routes.get("/join/{token}")
    def join(token: str, request: Request) -> Response:
        """Sign in by a personal link."""
        address = request.client.host if request.client else ""
        attempts.check(address)
        member = roster.holder(token)
        if member is None:
            attempts.wrong(address)
            text = "This link is not valid, or it was revoked. Ask the owner of the study for a new one."
            return pages.page(request, "message.html.j2", 404, title="This link does not work", text=text)
        home = HOME[member.role]
        response: Response = RedirectResponse(home, 303)
        if request.headers.get("sec-fetch-site") == "cross-site":
            # A browser sends no SameSite=Strict cookie along a redirect that began on another site, a webmail say.
            response = pages.page(request, "joined.html.j2", home=home)
        response.set_cookie(
            access.sessions.cookie,
            access.sessions.begin(member, desk.journal.clock()),
            max_age=int(access.sessions.seconds),
            httponly=True,
            samesite="strict",
            secure=tls,
        )
        return response

    @routes.get("/")
    def label(request: Request) -> Response:
        """Show the labelling page."""
        signed = access.signed(request)
        if signed.member.role == "adjudicator":
            return RedirectResponse("/adjudicate", 303)
        return labelling(request, signed, "annotate", signed.member.role)

    @routes.get("/adjudicate")
    def adjudicate(request: Request) -> Response:
        """Show the labelling page for the queue of disputed questions."""
        signed = access.signed(request)
        if signed.member.role == "annotator":
            raise forbidden("adjudicator", signed.member)
        return labelling(request, signed, "adjudicate", "adjudicator")

    @routes.get("/owner")
    def owner(request: Request) -> Response:
        """Show the dashboard."""
        signed = access.owner(request)
        bootstrap = {
            "study": desk.source.name,
            "csrf": access.sessions.csrf(signed.session, "annotate"),
            "name": signed.member.name,
        }
        return pages.page(request, "owner.html.j2", bootstrap=bootstrap)

    def labelling(request: Request, signed: Signed, mode: Mode, role: Role) -> Response:
        bootstrap = {
            "study": desk.source.name,
            "csrf": access.sessions.csrf(signed.session, mode),
            "annotator": {"name": signed.member.name, "role": role},
            "keys": settings.all_keys,
            "strength": settings.strength,
            "reasons": settings.reasons,
            "comment": settings.comment,
            "write_better": settings.write_better,
            "guidelines_html": render(settings.guidelines) if settings.guidelines else "",
            "idle_after_seconds": settings.idle_after_seconds,
        }
        return pages.page(request, "annotate.html.j2", bootstrap=bootstrap)

    return routes
