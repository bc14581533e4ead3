"""Planted attacks, which all fail."""

from __future__ import annotations

import asyncio
import logging
import socket
import stat
from concurrent.futures import ThreadPoolExecutor
from http.client import HTTPResponse
from pathlib import Path
from typing import Any

import pytest
from desk_world import Clock, desk_with
from http_world import BASE, SECRET, bootstrap_of, sent, world

from duelist.errors import DuelistError, StorageError
from duelist.web.guard import Guard, Limits
from duelist.web.items import Item, ItemMessage, ItemResponse, OpenBatch
from duelist.web.refusals import RefusedError
from duelist.web.serving import ServerSettings, serving
from duelist.web.tokens import Secret, Sessions

SCRIPT = "</script><script>alert(1)</script><img src=x onerror=alert(1)>"


# Stored scripts


def test_a_script_in_prompt_response_or_comment_is_shown_and_cannot_run() -> None:
    desk = desk_with(0)
    responses = (ItemResponse("a", f"{SCRIPT} [x](javascript:alert(1))"), ItemResponse("b", "<svg onload=alert(1)>"))
    desk.rounds.open(OpenBatch(1, (Item("q", "pair", (ItemMessage("user", SCRIPT),), responses),)))
    place = world(desk)
    ann, owner = place.person("ann"), place.person("olga", "owner")
    task = ann.next()["task"]
    for html in (task["prompt"][0]["html"], *(r["html"] for r in task["responses"])):
        assert "<script" not in html and "<img" not in html and "<svg" not in html and "href" not in html
        assert "&lt;" in html
    assert ann.post("/api/acts", sent(task, comment=SCRIPT)).json()["counts"]
    assert "json" in owner.get("/api/owner/state").headers["content-type"]
    for page in (owner.get("/owner"), ann.get("/")):
        assert "<script>alert" not in page.text


def test_a_script_as_a_name_is_shown_and_cannot_run() -> None:
    place = world()
    name = "</script><script>alert(1)</script>"
    ann = place.person(name)
    page = ann.get("/").text
    assert "<script>alert(1)" not in page and bootstrap_of(page)["annotator"]["name"] == name
    ann.post("/api/acts", sent(ann.next()["task"]))
    assert [a.annotator for a in place.desk.rounds.acts(1)] == [name]


@pytest.mark.parametrize("name", ["", " ann", "a\nb", "a\u202eb", "a\0b", "x" * 65, "\u200b"])
def test_names_that_hide_are_refused(name: str) -> None:
    with pytest.raises(RefusedError):
        world().roster.invite(name, "annotator")


# Headers


def test_every_answer_has_the_security_headers() -> None:
    place = world()
    ann = place.person("ann")
    answers = [ann.get("/"), ann.get("/nothing"), ann.post("/api/next", {}), place.browser().get("/")]
    answers += [ann.get("/static/main.js"), ann.post("/api/next", {"x": 1}), ann.post("/api/next", {}, Host="evil")]
    nonces = set()
    for found in answers:
        policy = found.headers["content-security-policy"]
        assert policy.startswith("default-src 'none'; script-src 'nonce-") and "unsafe" not in policy
        nonces.add(policy.split("'nonce-")[1].split("'")[0])
        assert found.headers["x-content-type-options"] == "nosniff"
        assert found.headers["x-frame-options"] == "DENY" and found.headers["referrer-policy"] == "no-referrer"
        assert "access-control-allow-origin" not in found.headers
    assert len(nonces) == len(answers), "a nonce is used once"
    assert answers[0].headers["cache-control"] == "no-store"
    assert (
        f'nonce="{answers[0].headers["content-security-policy"].split("nonce-")[1].split(chr(39))[0]}"'
        in answers[0].text
    )


def test_the_cookie_is_out_of_reach_of_scripts_and_of_other_sites() -> None:
    place = world()
    client = place.browser()
    link = f"/join/{place.roster.invite('ann', 'annotator')}"
    cookie = client.get(link).headers["set-cookie"]
    assert "HttpOnly" in cookie and "SameSite=strict" in cookie and "Secure" not in cookie
    tls = world(limits=Limits(tls=True))
    cookie = tls.browser().get(f"/join/{tls.roster.invite('ann', 'annotator')}").headers["set-cookie"]
    assert "Secure" in cookie
    from_mail = client.get(link, headers={"Sec-Fetch-Site": "cross-site"})
    assert from_mail.status_code == 200 and "url=/" in from_mail.text


# Foreign requests


@pytest.mark.parametrize(
    "headers",
    [
        {"X-CSRF-Token": ""},
        {"X-CSRF-Token": "0" * 64},
        {"X-CSRF-Token": "é"},
        {"Origin": "http://evil.example"},
        {"Origin": "null"},
        {"Sec-Fetch-Site": "cross-site"},
        {"Sec-Fetch-Site": "same-site"},
    ],
)
def test_requests_of_foreign_pages_are_refused(headers: dict[str, str]) -> None:
    place = world()
    ann = place.person("ann")
    latin = {k: v.encode("latin-1") for k, v in headers.items()}
    sent_headers: Any = {"X-CSRF-Token": ann.csrf, "Origin": BASE} | latin
    found = ann.client.post("/api/next", json={}, headers=sent_headers)
    assert (found.status_code, found.json()["error"]) == (403, "csrf")
    assert place.desk.journal.record.leases == {}


def test_the_csrf_token_belongs_to_the_session() -> None:
    place = world()
    ann, bob = place.person("ann"), place.person("bob")
    assert bob.post("/api/next", {}, **{"X-CSRF-Token": ann.csrf}).status_code == 403


def test_a_form_of_a_foreign_page_is_refused() -> None:
    ann = world().person("ann")
    found = ann.client.post("/api/next", data={"hold": "x"})
    assert found.status_code in (403, 422)


def test_a_foreign_name_of_this_machine_is_refused() -> None:
    """A page of evil.example whose name is changed to 127.0.0.1 must not be served (DNS rebinding)."""
    ann = world().person("ann")
    found = ann.client.get("/", headers={"Host": "evil.example:8080"})
    assert (found.status_code, found.json()["error"]) == (400, "host")
    assert ann.client.get("/", headers={"Host": "LOCALHOST:1"}).status_code == 200


# Paths


@pytest.mark.parametrize(
    "path",
    [
        "/static/../app.py",
        "/static/%2e%2e/app.py",
        "/static/..%2fapp.py",
        "/static/%2e%2e%2f%2e%2e%2ferrors.py",
        "/static//etc/passwd",
        "/static/....//app.py",
        "/static/..\\app.py",
        "/static/main.js%00.py",
        "/static/",
        "/openapi.json",
        "/docs",
    ],
)
def test_only_static_files_are_served(path: str) -> None:
    found = world().person("ann").get(path)
    assert found.status_code in (400, 404) and "duelist" not in found.text.lower()


# Tokens


def test_guessing_tokens_is_stopped_and_waiting_helps() -> None:
    clock = Clock()
    place = world(desk_with(1, clock=clock))
    client = place.browser()
    good = place.roster.invite("ann", "annotator")
    statuses = [client.get(f"/join/guess-{i}").status_code for i in range(12)]
    assert statuses == [404] * 10 + [429] * 2
    blocked = client.get(f"/join/{good}")
    assert blocked.status_code == 429 and 0 < int(blocked.headers["retry-after"]) <= 61
    clock.forward(61)
    assert client.get(f"/join/{good}").status_code == 303


def test_tokens_are_digested_at_rest_and_never_logged(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "duelist.web")
    place = world()
    token = place.roster.invite("ann", "annotator")
    client = place.browser()
    assert client.get(f"/join/{token}").status_code == 303
    client.get(f"/join/{token}x")
    assert token not in caplog.text and "/join/-" in caplog.text
    events = str(list(place.desk.journal.record.events.values()))
    assert token not in events and SECRET.digest(token) in events and len(token) >= 43


def test_a_cookie_that_was_changed_or_made_elsewhere_is_refused() -> None:
    place = world()
    ann = place.person("ann")
    (name, value), *_ = ann.client.cookies.items()
    ann.client.cookies.set(name, value[:-2] + ("AA" if value[-2:] != "AA" else "BB"), domain="127.0.0.1")
    changed = place.browser()
    changed.cookies.set(name, value[:-3])
    assert changed.get("/").status_code == 401
    member = place.desk.journal.record.members["ann"]
    foreign = place.browser()
    foreign.cookies.set(name, Sessions(Secret.fresh()).begin(member, place.desk.journal.clock()))
    assert foreign.get("/").status_code == 401


def test_the_secret_is_kept_and_readable_by_its_owner_alone(tmp_path: Path) -> None:
    path = tmp_path / "web.secret"
    first = Secret.at(path)
    assert Secret.at(path) == first and stat.S_IMODE(path.stat().st_mode) == 0o600
    assert "key" not in repr(first)
    path.write_bytes(b"short")
    with pytest.raises(StorageError, match="32 bytes"):
        Secret.at(path)


# Bodies


def test_bodies_over_the_limit_are_refused_however_they_are_sent() -> None:
    ann = world().person("ann")
    large = b'{"hold": ["' + b"x" * 70_000 + b'"]}'
    headers = {"X-CSRF-Token": ann.csrf, "Content-Type": "application/json"}
    told = ann.client.post("/api/next", content=large, headers=headers)
    assert (told.status_code, told.json()["error"]) == (413, "too_large")
    chunked = ann.client.post("/api/next", content=iter([large[:35_000], large[35_000:]]), headers=headers)
    assert chunked.status_code == 413


def test_a_slow_body_is_cut_off() -> None:
    """Bytes that never come: the request ends at its time limit."""
    messages: list[Any] = []

    async def never(*_: Any) -> None:
        raise AssertionError("the application must not see the request")

    async def run() -> None:
        first = [{"type": "http.request", "body": b"{", "more_body": True}]

        async def receive() -> Any:
            if first:
                return first.pop()
            return await asyncio.Event().wait()

        async def send(message: Any) -> None:
            messages.append(message)

        scope = {"type": "http", "method": "POST", "path": "/api/next", "headers": [], "scheme": "http", "state": {}}
        await Guard(never, Limits(body_seconds=0.01))(scope, receive, send)

    with ThreadPoolExecutor() as threads:  # Playwright's tests leave an event loop running in theirs
        threads.submit(asyncio.run, run()).result()
    assert messages[0]["status"] == 408 and b'"slow"' in messages[1]["body"]


def test_a_request_that_says_more_than_it_sends_reaches_nothing() -> None:
    desk = desk_with(1)
    with serving(desk, SECRET, ServerSettings(port=0)) as served:
        host, _, port = served.address.removeprefix("http://").partition(":")
        with socket.create_connection((host, int(port)), timeout=30) as connection:
            connection.sendall(f"POST /api/next HTTP/1.1\r\nHost: {host}\r\nContent-Length: 999999999\r\n\r\n".encode())
            answer = connection.recv(4096)
    assert answer.startswith(b"HTTP/1.1 413")


def test_a_request_that_does_not_begin_is_cut_off(monkeypatch: pytest.MonkeyPatch) -> None:
    """A head that comes byte by byte ends at its time limit; a request in time does not, and what follows it does."""
    monkeypatch.setattr("duelist.web.protocol.HEAD_SECONDS", 0.2)
    with serving(desk_with(1), SECRET, ServerSettings(port=0)) as served:
        host, _, port = served.address.removeprefix("http://").partition(":")
        head = f"GET /static/page.css HTTP/1.1\r\nHost: {host}\r\n".encode()
        for begun in (b"", b"GET / HT", head):
            with socket.create_connection((host, int(port)), timeout=30) as connection:
                connection.sendall(begun)
                assert connection.recv(4096) == b"", begun
        with socket.create_connection((host, int(port)), timeout=30) as connection:
            for _ in range(2):
                connection.sendall(head + b"\r\n")
                answer = HTTPResponse(connection)
                answer.begin()
                assert answer.status == 200 and b"{" in answer.read()
            connection.sendall(head)
            assert connection.recv(4096) == b""


# Where it listens


def test_other_machines_need_public_and_tls(tmp_path: Path) -> None:
    with pytest.raises(DuelistError, match="--public"):
        ServerSettings(host="0.0.0.0")
    with pytest.raises(DuelistError, match="certificate nor a trusted proxy"):
        ServerSettings(host="0.0.0.0", public=True)
    with pytest.raises(DuelistError, match="must exist"):
        ServerSettings(certificate=tmp_path / "c.pem", key=tmp_path / "k.pem")
    with pytest.raises(DuelistError, match="its key"):
        ServerSettings(certificate=tmp_path / "c.pem")
    with pytest.raises(DuelistError, match="https address"):
        ServerSettings(host="0.0.0.0", public=True, trusted_proxy="10.0.0.1", address="http://label.example")
    behind = ServerSettings(host="10.0.0.2", public=True, trusted_proxy="10.0.0.1", address="https://label.example")
    assert behind.limits.tls and "label.example" in behind.limits.hosts
    for host in ("127.0.0.1", "::1", "localhost", "127.9.9.9"):
        assert not ServerSettings(host=host).limits.tls


def test_small_answers_are_sent_at_once() -> None:
    from duelist.web.serving import _listen

    with _listen("127.0.0.1", 0) as listening, socket.create_connection(listening.getsockname()):
        accepted, _ = listening.accept()
        with accepted:
            assert accepted.proto == socket.IPPROTO_TCP, "else asyncio leaves Nagle's algorithm on"


def test_a_port_in_use_is_an_error_with_a_remedy() -> None:
    desk = desk_with(1)
    with serving(desk, SECRET, ServerSettings(port=0)) as served:
        port = int(served.address.rpartition(":")[2])
        with pytest.raises(DuelistError, match="--port"), serving(desk, SECRET, ServerSettings(port=port)):
            pass
