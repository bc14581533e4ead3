"""The server with many people at once, killed at any moment, and its live events."""

from __future__ import annotations

import json
import os
import shutil
import signal
import ssl
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from threading import Thread, Timer
from typing import Any

import httpx2
import pytest
from databases import postgresql
from desk_world import FakeSource, batch, desk_with
from http_world import SECRET, bootstrap_of
from simulated import Annotator, Crowd, require_faithful, work_together

from duelist.web.assignment import DeskSettings
from duelist.web.desk import Desk
from duelist.web.journal import Journal
from duelist.web.serving import ServerSettings, serving
from duelist.web.sql_ledger import SqlLedger

HERE = Path(__file__).parent
MANY = 10**9


def label_together(url: str, people: int, questions: int, votes: int, seconds: float | None = None) -> None:
    """Let simulated people label over HTTP; then compare the ledger with their records."""
    ledger = SqlLedger(url)
    desk = Desk(Journal(ledger), FakeSource(), DeskSettings(labels=2))
    desk.rounds.open(batch(1, questions))
    together = Crowd()
    with serving(desk, SECRET, ServerSettings(port=0)) as served:
        crowd = [Annotator(f"p{i}", served.link(f"p{i}", "annotator"), i, votes, together) for i in range(people)]
        timer = Timer(seconds or 0, together.enough.set)
        if seconds is not None:
            timer.start()
        work_together(crowd)
        timer.cancel()
    ledger.close()
    again = SqlLedger(url)
    require_faithful(again.events(), crowd, k=2)
    assert sum(len(person.acknowledged) for person in crowd) >= min(people * votes, people), "people did vote"
    again.close()


def test_twenty_people_at_once(tmp_path: Path) -> None:
    label_together(f"sqlite:///{tmp_path / 'study.db'}", people=20, questions=60, votes=4)


@pytest.mark.full
@pytest.mark.parametrize("kind", ["sqlite", "postgresql"])
def test_twenty_people_for_a_minute(tmp_path: Path, kind: str) -> None:
    if kind == "sqlite":
        label_together(f"sqlite:///{tmp_path / 'study.db'}", people=20, questions=4_000, votes=MANY, seconds=60)
    else:
        with postgresql() as url:
            label_together(url, people=20, questions=4_000, votes=MANY, seconds=60)


# kill -9


class Killable:
    """A server in a process of its own."""

    def __init__(self, url: str, questions: int, port: int, *names: str) -> None:
        words = [sys.executable, str(HERE / "serve_made_up.py"), url, str(port), str(questions), *names]
        environment = os.environ | {"PYTHONPATH": os.pathsep.join([str(HERE), *sys.path])}
        self.process = subprocess.Popen(words, stdout=subprocess.PIPE, text=True, env=environment)
        assert self.process.stdout is not None
        self.said: dict[str, Any] = json.loads(self.process.stdout.readline())

    @property
    def port(self) -> int:
        return int(self.said["address"].rpartition(":")[2])

    def kill(self) -> None:
        self.process.send_signal(signal.SIGKILL)
        assert self.process.wait() == -signal.SIGKILL
        assert self.process.stdout is not None
        self.process.stdout.close()


def kill_and_restart(tmp_path: Path, people: int, votes: int, kills: int) -> None:
    url = f"sqlite:///{tmp_path / 'study.db'}"
    names = [f"p{i}" for i in range(people)]
    server = Killable(url, 200, 0, *names)
    together = Crowd()
    crowd = [Annotator(n, server.said["links"][n], i, votes, together) for i, n in enumerate(names)]
    working = Thread(target=work_together, args=(crowd,))
    working.start()
    try:
        for kill in range(1, kills + 1):
            total = people * votes * kill // (kills + 1)
            with together.voted:
                together.voted.wait_for(lambda total=total: sum(len(p.acknowledged) for p in crowd) >= total)
            together.up.clear()
            server.kill()
            server = Killable(url, 200, server.port)
            together.up.set()
        working.join()
    finally:
        together.enough.set()
        together.up.set()
        server.kill()
        working.join()
    ledger = SqlLedger(url)
    require_faithful(ledger.events(), crowd, k=2)
    assert all(len(person.acknowledged) == votes for person in crowd), "people went on after each kill"
    ledger.close()


def test_a_killed_server_has_every_acknowledged_vote_once_and_on_its_side(tmp_path: Path) -> None:
    kill_and_restart(tmp_path, people=4, votes=10, kills=1)


@pytest.mark.full
def test_a_server_killed_again_and_again(tmp_path: Path) -> None:
    kill_and_restart(tmp_path, people=8, votes=40, kills=10)


# Live events


@pytest.fixture
def owner_page() -> Iterator[tuple[Desk, httpx2.Client, str, str]]:
    desk = desk_with(2)
    with serving(desk, SECRET, ServerSettings(port=0)) as served, httpx2.Client(follow_redirects=True) as client:
        page = client.get(served.link("olga", "owner"))
        yield desk, client, served.address, bootstrap_of(page.text)["csrf"]


def states(response: httpx2.Response) -> Iterator[dict[str, Any]]:
    for line in response.iter_lines():
        if line.startswith("data: "):
            yield json.loads(line.removeprefix("data: "))


def test_the_owner_hears_of_changes_live(owner_page: tuple[Desk, httpx2.Client, str, str]) -> None:
    desk, client, address, csrf = owner_page
    with client.stream("GET", f"{address}/owner/events") as stream:
        assert stream.headers["content-type"].startswith("text/event-stream")
        found = states(stream)
        assert not next(found)["paused"]
        client.post(f"{address}/api/owner/pause", json={"paused": True}, headers={"X-CSRF-Token": csrf})
        assert next(state for state in found if state["paused"])["number"] == desk.journal.record.number


def test_live_events_end_with_the_server_and_with_the_access() -> None:
    desk = desk_with(1)
    with httpx2.Client(follow_redirects=True, timeout=60) as client:
        with serving(desk, SECRET, ServerSettings(port=0)) as served:
            client.get(served.link("olga", "owner"))
            with client.stream("GET", f"{served.address}/owner/events") as stream:
                found = states(stream)
                next(found)
                served.roster.revoke("olga")
                for _ in found:  # a last state may be on its way; then the stream ends
                    pass
            assert client.get(f"{served.address}/owner/events").status_code == 401
            client.get(served.link("olga", "owner"))
            open_stream = client.stream("GET", f"{served.address}/owner/events")
            response = open_stream.__enter__()
            next(states(response))
        response.close()


# TLS


def test_tls_with_own_files(tmp_path: Path) -> None:
    if shutil.which("openssl") is None:
        pytest.skip("a certificate for the test is made by openssl, which is not installed")
    certificate, key = tmp_path / "certificate.pem", tmp_path / "key.pem"
    words = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"]
    words += ["-subj", "/CN=localhost", "-addext", "subjectAltName=IP:127.0.0.1", "-days", "2"]
    subprocess.run([*words, "-out", str(certificate), "-keyout", str(key)], check=True, capture_output=True)
    settings = ServerSettings(port=0, certificate=certificate, key=key)
    trusted = ssl.create_default_context(cafile=str(certificate))
    with serving(desk_with(1), SECRET, settings) as served, httpx2.Client(verify=trusted) as client:
        assert served.address.startswith("https://127.0.0.1:")
        joined = client.get(served.link("ann", "annotator"))
        assert joined.status_code == 303 and "Secure" in joined.headers["set-cookie"]
        page = client.get(f"{served.address}/")
        assert "strict-transport-security" in page.headers
        headers = {"X-CSRF-Token": bootstrap_of(page.text)["csrf"], "Origin": served.address}
        assert client.post(f"{served.address}/api/next", json={}, headers=headers).json()["task"] is not None
