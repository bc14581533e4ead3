"""The FastAPI application of `duelist annotate`."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from fastapi import FastAPI
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.staticfiles import StaticFiles

from duelist._version import __version__
from duelist.errors import DuelistError
from duelist.web.access import Access
from duelist.web.api import people_api
from duelist.web.attempts import Attempts
from duelist.web.commands import Tell, command_api
from duelist.web.dashboard import Statistics
from duelist.web.desk import Desk
from duelist.web.guard import LOG, Guard, Limits, error_body, retry_headers
from duelist.web.owner import owner_api
from duelist.web.page_settings import PageSettings
from duelist.web.pages import Pages, page_routes
from duelist.web.refusals import RefusedError
from duelist.web.roster import Roster
from duelist.web.tokens import Secret, Sessions

STATIC = Path(__file__).parent / "static"


def create_app(
    desk: Desk,
    secret: Secret,
    settings: PageSettings | None = None,
    limits: Limits | None = None,
    *,
    statistics: Statistics | None = None,
    tell: Tell | None = None,
    address: str = "",
    session_seconds: float = 12 * 3600.0,
    stopping: Callable[[], bool] = lambda: False,
) -> FastAPI:
    """Return the application.

    Args:
        desk: gives out questions and takes in answers.
        secret: the study's secret.
        settings: what the study configures of the page.
        limits: limits of a request.
        statistics: further statistics of agreement for the dashboard.
        tell: records the answers of a file on this machine, for `duelist tell`.
        address: as browsers open it.
        session_seconds: how long a session is valid.
        stopping: whether the server is about to end; live events end then.
    """
    settings, limits = settings or PageSettings(), limits or Limits()
    roster = Roster(desk, secret)
    access = Access(desk, roster, Sessions(secret, session_seconds))
    app = FastAPI(title="Duelist annotate", version=__version__, docs_url=None, redoc_url=None, openapi_url=None)
    app.include_router(people_api(desk, access))
    app.include_router(command_api(roster, secret, tell, address, desk.journal.clock))
    app.include_router(owner_api(desk, roster, access, settings, statistics, stopping))
    app.include_router(page_routes(desk, roster, access, settings, Attempts(desk.journal.clock), limits.tls))
    app.mount("/static", StaticFiles(directory=STATIC), name="static")
    app.add_middleware(Guard, limits=limits)
    pages = Pages()

    @app.exception_handler(RefusedError)
    def refused(request: Request, error: RefusedError) -> Response:
        if request.url.path.startswith(("/api/", "/owner/", "/command")):
            return JSONResponse(error_body(error), error.status, retry_headers(error))
        return pages.refusal(request, error)

    @app.exception_handler(RequestValidationError)
    def not_of_the_form(request: Request, error: RequestValidationError) -> Response:
        first = error.errors()[0]
        place = ".".join(str(part) for part in first["loc"][1:]) or "the body"
        message = f"The request must have the API's form, but at {place}: {first['msg']}."
        return JSONResponse(_encodable({"error": "invalid", "message": message}), 422)

    @app.exception_handler(HTTPException)
    def not_found(request: Request, error: HTTPException) -> Response:
        codes = {404: "not_found", 405: "method_not_allowed", 400: "invalid"}
        content = {"error": codes.get(error.status_code, "refused"), "message": str(error.detail)}
        return JSONResponse(content, error.status_code, error.headers)

    @app.exception_handler(DuelistError)
    def failed(request: Request, error: DuelistError) -> Response:
        LOG.error("%s", error)
        message = "The answer must be recorded, but the study could not be written: it is tried again."
        return JSONResponse({"error": "not_recorded", "message": message}, 503, {"Retry-After": "5"})

    return app


def _encodable(content: dict[str, str]) -> dict[str, str]:
    return {key: value.encode("utf-8", "replace").decode() for key, value in content.items()}
