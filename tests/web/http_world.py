"""The application over a desk without a study, and people who use its API as the page does."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from typing import Any

from desk_world import answer_to, desk_with
from fastapi import FastAPI
from fastapi.testclient import TestClient

from duelist.web.app import create_app
from duelist.web.desk import Desk
from duelist.web.guard import Limits
from duelist.web.record import Role
from duelist.web.roster import Roster
from duelist.web.tokens import Secret

SECRET = Secret(bytes(range(32)))
BASE = "http://127.0.0.1:8080"


@dataclass
class Person:
    """A signed-in browser: cookies, and the CSRF token of the page that it has open."""

    name: str
    client: TestClient
    csrf: str = ""

    def open(self, path: str) -> dict[str, Any]:
        """Open a page; return its bootstrap."""
        page = self.client.get(path)
        assert page.status_code == 200, page.text
        found = bootstrap_of(page.text)
        self.csrf = found["csrf"]
        return found

    def post(self, path: str, body: Any, **headers: str) -> Any:
        return self.client.post(path, json=body, headers={"X-CSRF-Token": self.csrf, "Origin": BASE, **headers})

    def get(self, path: str) -> Any:
        return self.client.get(path)

    def next(self, *hold: str) -> dict[str, Any]:
        found = self.post("/api/next", {"hold": list(hold)})
        assert found.status_code == 200, found.text
        return dict(found.json())


@dataclass
class World:
    """An application, its desk, and its people."""

    desk: Desk
    app: FastAPI

    @property
    def roster(self) -> Roster:
        return Roster(self.desk, SECRET)

    def browser(self) -> TestClient:
        return TestClient(self.app, base_url=BASE, follow_redirects=False)

    def person(self, name: str, role: Role = "annotator", path: str = "") -> Person:
        """Invite a person, open the personal link, and then the page."""
        person = Person(name, self.browser())
        joined = person.client.get(f"/join/{self.roster.invite(name, role)}")
        assert joined.status_code == 303
        person.open(path or joined.headers["location"])
        return person


def world(desk: Desk | None = None, **settings: Any) -> World:
    """An application with an open batch of three pairs."""
    desk = desk or desk_with(3)
    limits = settings.pop("limits", Limits(hosts=("127.0.0.1", "localhost")))
    return World(desk, create_app(desk, SECRET, limits=limits, **settings))


def bootstrap_of(page: str) -> dict[str, Any]:
    """The page's bootstrap, as a browser reads it: up to the first end of a script."""
    found = re.search(r'<script type="application/json" id="bootstrap"[^>]*>(.*?)</script', page, re.S)
    assert found is not None, page
    return dict(json.loads(found[1]))


def sent(task: dict[str, Any], outcome: str = "prefer", chosen: str = "", **changes: Any) -> dict[str, Any]:
    """An answer to a task of the API; the first displayed response wins unless another is chosen."""
    shown = [r["id"] for r in task["responses"]]
    return answer_to(task["task_id"], task["question_id"], shown, outcome, chosen) | changes
