"""Commands from a shell on this machine to the server that has the study open, signed with the study's secret."""

from __future__ import annotations

import hmac
import json
from collections.abc import Callable
from datetime import datetime, timedelta
from pathlib import Path
from typing import Annotated, Any, Literal

import httpx2
from fastapi import APIRouter, Header
from pydantic import ValidationError
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request

from duelist.errors import DataError, DuelistError, StorageError
from duelist.files.atomic import atomic_path
from duelist.web.journal import Clock, utc_now
from duelist.web.record import Role
from duelist.web.refusals import RefusedError, invalid
from duelist.web.roster import Roster
from duelist.web.schemas import Form
from duelist.web.tokens import Secret

SERVER = ".server.json"  # in the study's folder, while it is served
Do = Literal["invite", "revoke", "tell"]
_VALID = timedelta(seconds=60)
_WAIT = 60.0  # seconds for the server's answer: a file of answers takes a while

Tell = Callable[[Path], int]
"""Records the answers of a file, and returns how many are new."""


class Command(Form):
    """What a shell asks the server to do. `at` keeps a recorded request from being sent again later.

    Attributes:
        at: when it was sent, UTC, ISO 8601.
        do: what to do.
        name: whom to invite, or whose access ends; of `tell`, the path of the file.
        role: of whom to invite.
    """

    at: str
    do: Do
    name: str
    role: Role = "annotator"


def command_api(
    roster: Roster, secret: Secret, tell: Tell | None = None, address: str = "", clock: Clock = utc_now
) -> APIRouter:
    """Return the route that takes commands.

    Args:
        roster: people who may sign in.
        secret: signs the commands.
        tell: records answers of a file; None if that is not possible.
        address: of the server, as browsers open it.
        clock: the present time.
    """
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
        return await run_in_threadpool(carry_out, wanted)

    def carry_out(wanted: Command) -> dict[str, Any]:
        if wanted.do == "invite":
            return {"token": roster.invite(wanted.name, wanted.role), "address": address}
        if wanted.do == "revoke":
            roster.revoke(wanted.name)
            return {}
        if tell is None:
            raise invalid("This server has no study to tell answers to: run `duelist annotate`.")
        try:
            return {"new": tell(Path(wanted.name))}
        except DataError as error:
            raise invalid(str(error)) from error

    return routes


def announce(folder: Path, address: str) -> None:
    """Leave word in the study's folder of where it is served, for `send`."""
    with atomic_path(folder / SERVER) as temporary:
        temporary.write_text(json.dumps({"address": address}), encoding="utf-8")


def withdraw(folder: Path) -> None:
    """Remove what `announce` left."""
    (folder / SERVER).unlink(missing_ok=True)


def send(folder: Path, secret: Secret, do: Do, name: str, role: str = "annotator") -> Any:
    """Send a command to the server that has the study open, and return its answer.

    Raises:
        StorageError: if no server has left word, it does not answer, or it is another study's.
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
        # A proxy of the environment is for other machines.
        with httpx2.Client(verify=False, trust_env=False, timeout=_WAIT) as client:
            answer = client.post(f"{address}/command", content=body, headers=headers)
        content = answer.json()
    except (httpx2.HTTPError, ValueError) as error:
        raise StorageError(
            f"The server that has {folder} open must answer, but {address} does not ({error}): is it still running?"
        ) from error
    ours = answer.status_code == 200 or (isinstance(content, dict) and {"error", "message"} <= content.keys())
    if not ours or answer.status_code == 403:  # left by a server that was killed; another has its port now
        raise StorageError(
            f"The server at {address} must serve {folder}, but it is not this study's: run `duelist annotate` on it."
        )
    if answer.status_code != 200:
        raise DuelistError(str(content["message"]))
    return content


def _signature(secret: Secret, body: bytes) -> str:
    return secret.digest("command", body.decode("utf-8", "replace"))
