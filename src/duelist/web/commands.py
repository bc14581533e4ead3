"""Commands from a shell on this machine to the server that has the study open, signed with the study's secret."""

from __future__ import annotations

import hmac
import json
from datetime import datetime, timedelta
from pathlib import Path
from typing import Annotated, Any, Literal

import httpx2
from fastapi import APIRouter, Header
from pydantic import ValidationError
from starlette.requests import Request

from duelist.errors import DuelistError, StorageError
from duelist.files.atomic import atomic_path
from duelist.web.journal import Clock, utc_now
from duelist.web.record import Role
from duelist.web.refusals import RefusedError, invalid
from duelist.web.roster import Roster
from duelist.web.schemas import Form
from duelist.web.tokens import Secret

SERVER = ".server.json"  # in the study's folder, while it is served
_VALID = timedelta(seconds=60)
_WAIT = 10.0  # seconds for the server's answer


class Command(Form):
    """What a shell asks the server to do. `at` keeps a recorded request from being sent again later."""

    at: str
    do: Literal["invite", "revoke"]
    name: str
    role: Role = "annotator"


def command_api(roster: Roster, secret: Secret, clock: Clock = utc_now) -> APIRouter:
    """Return the route that takes commands."""
    routes = APIRouter(include_in_schema=False)

    @routes.post("/command")
    async def command(request: Request, x_duelist_signature: Annotated[str, Header()] = "") -> dict[str, Any]:
        body = await request.body()
        if not hmac.compare_digest(_signature(secret, body).encode(), x_duelist_signature.encode()):
            raise RefusedError(403, "forbidden", "A command must be signed with the study's secret, but is not.")
        try:
            wanted = Command.model_validate_json(body)
            age = abs(clock() - datetime.fromisoformat(wanted.at))
        except (ValidationError, ValueError, TypeError) as error:
            raise invalid(f"A command must have the form that this version sends, but: {error}.") from error
        if age > _VALID:
            raise RefusedError(403, "forbidden", "A command must be sent at once, but this one is old: send it again.")
        if wanted.do == "invite":
            return {"token": roster.invite(wanted.name, wanted.role)}
        roster.revoke(wanted.name)
        return {}

    return routes


def announce(folder: Path, address: str) -> None:
    """Leave word in the study's folder of where it is served, for `send`."""
    with atomic_path(folder / SERVER) as temporary:
        temporary.write_text(json.dumps({"address": address}), encoding="utf-8")


def withdraw(folder: Path) -> None:
    """Remove what `announce` left."""
    (folder / SERVER).unlink(missing_ok=True)


def send(folder: Path, secret: Secret, do: Literal["invite", "revoke"], name: str, role: str = "annotator") -> Any:
    """Send a command to the server that has the study open, and return its answer.

    Raises:
        StorageError: if no server has left word, or it does not answer.
        DuelistError: if the server refuses the command.
    """
    try:
        address = json.loads((folder / SERVER).read_text(encoding="utf-8"))["address"]
    except (OSError, ValueError, KeyError) as error:
        raise StorageError(
            f"A study in use takes commands through its server, but none serves {folder}: another process works on it "
            "(`duelist run`, or a script). Wait for it, or stop it."
        ) from error
    body = json.dumps({"at": utc_now().isoformat(), "do": do, "name": name, "role": role}).encode()
    headers = {"X-Duelist-Signature": _signature(secret, body), "Content-Type": "application/json"}
    try:
        # The certificate names the public address, not this machine; the signature is what is relied on.
        answer = httpx2.post(f"{address}/command", content=body, headers=headers, timeout=_WAIT, verify=False)
    except httpx2.HTTPError as error:
        raise StorageError(
            f"The server that has {folder} open must answer, but {address} does not ({error}): is it still running?"
        ) from error
    content = answer.json()
    if answer.status_code != 200:
        raise DuelistError(str(content.get("message", content)))
    return content


def _signature(secret: Secret, body: bytes) -> str:
    return secret.digest("command", body.decode("utf-8", "replace"))
