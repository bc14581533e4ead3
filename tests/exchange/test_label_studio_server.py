"""Label Studio over its API: a stub of the routes that are used, and the real server with a person in Chromium."""

from __future__ import annotations

import json
import os
import re
import shutil
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx2
import pytest
from exchange_world import expected, pairs, said, study_of

from duelist import Study
from duelist.errors import DuelistError, RecipeError
from duelist.exchange.formats import Source
from duelist.exchange.label_studio_server import KEY, LabelStudioServer
from duelist.exchange.tasks import tasks_of
from duelist.study.importing import import_into

ELSEWHERE = "DUELIST_LABEL_STUDIO"  # the folder of an environment with label-studio 1.23
URL = "http://127.0.0.1:9"


class Stub:
    """The routes of Label Studio 1.23 that are used, as httpx's transport: projects, import, export, and tokens."""

    def __init__(self) -> None:
        self.projects: dict[int, dict[str, Any]] = {}
        self.tasks: dict[int, list[dict[str, Any]]] = {}
        self.valid = "Token key"
        self.fails: Callable[[httpx2.Request], httpx2.Response | None] = lambda request: None
        self.seen: list[tuple[str, str]] = []
        self.tokens = 0

    def __call__(self, request: httpx2.Request) -> httpx2.Response:
        path = request.url.path
        self.seen.append((request.method, path))
        if (failure := self.fails(request)) is not None:
            return failure
        if path == "/api/token/refresh/":
            assert json.loads(request.content) == {"refresh": "a.b.c"}
            self.tokens += 1
            self.valid = f"Bearer access {self.tokens}"
            return httpx2.Response(200, json={"access": f"access {self.tokens}"})
        if request.headers.get("Authorization") != self.valid:
            return httpx2.Response(401, json={"detail": "no"})
        if path == "/api/projects/":
            number = len(self.projects) + 1
            self.projects[number], self.tasks[number] = json.loads(request.content), []
            return httpx2.Response(201, json={"id": number})
        number = int(path.split("/")[3])
        if number not in self.projects:
            return httpx2.Response(404, json={"detail": "no"})
        if path.endswith("/import"):
            rows = json.loads(request.content)
            self.tasks[number] += [{"id": len(self.tasks[number]) + i, **row} for i, row in enumerate(rows)]
            return httpx2.Response(201, json={"task_count": len(rows)})
        if path.endswith("/export"):
            every = request.url.params["download_all_tasks"] == "true"
            return httpx2.Response(200, json=[t for t in self.tasks[number] if every or t.get("annotations")])
        return httpx2.Response(200, json=self.projects[number])


@pytest.fixture
def stub() -> Stub:
    return Stub()


@pytest.fixture
def server(stub: Stub, monkeypatch: pytest.MonkeyPatch) -> Iterator[LabelStudioServer]:
    monkeypatch.setenv(KEY, "key")
    with LabelStudioServer(URL, httpx2.MockTransport(stub)) as opened:
        yield opened


def test_batches_are_pushed_once_and_in_pick_order(study: Study, server: LabelStudioServer, stub: Stub) -> None:
    tasks = tasks_of(study.store)
    number = server.create_project("a name " * 20, labels=2)
    assert len(stub.projects[number]["title"]) == 50 and stub.projects[number]["maximum_annotations"] == 2
    assert stub.projects[number]["sampling"] == "Sequential sampling"
    assert server.push(number, tasks[:3]) == (3, 0)
    assert server.push(number, tasks) == (4, 3)
    assert [t["data"]["question_id"] for t in stub.tasks[number]] == [t.question.id for t in tasks]
    assert server.push(number, tasks) == (0, 7) and len(stub.tasks[number]) == 7


def test_a_push_that_failed_goes_on(
    study: Study, server: LabelStudioServer, stub: Stub, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("duelist.exchange.label_studio_server._AT_ONCE", 2)
    number = server.create_project("name")
    stub.fails = lambda r: httpx2.Response(502) if len(stub.tasks[number]) >= 4 and r.method == "POST" else None
    with pytest.raises(DuelistError, match=r"status 502.*run the command again"):
        server.push(number, tasks_of(study.store))
    stub.fails = lambda r: None
    assert server.push(number, tasks_of(study.store)) == (3, 4)
    assert [t["data"]["position"] for t in stub.tasks[number]] == list(range(7))


def test_votes_are_pulled(study: Study, server: LabelStudioServer, stub: Stub) -> None:
    task = tasks_of(study.store)[1]
    number = server.create_project("name")
    server.push(number, tasks_of(study.store))
    choice = {"from_name": "outcome", "to_name": "prompt", "type": "choices", "value": {"choices": ["Right is better"]}}
    vote = {"id": 5, "completed_by": 2, "result": [choice], "lead_time": 3.5, "created_at": "2026-01-31T12:00:00Z"}
    stub.tasks[number][1]["annotations"] = [vote]
    report = import_into(study.stages, Source("label-studio", server.items(number)))
    assert (report.labels, report.problems) == (1, ())
    (label,) = study.store.labels()
    assert said([label]) == {task.question.id: expected(task, "Right is better")}
    assert (label.annotator, label.seconds, label.time) == ("label-studio-2", 3.5, "2026-01-31T12:00:00Z")


def test_an_access_token_is_fetched_and_renewed(
    study: Study, server: LabelStudioServer, stub: Stub, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(KEY, "a.b.c")
    with LabelStudioServer(URL + "/", httpx2.MockTransport(stub)) as own:
        number = own.create_project("name")
        stub.valid = "expired since"
        assert own.push(number, tasks_of(study.store)) == (7, 0)
    assert stub.tokens == 2


def test_refusals(study: Study, server: LabelStudioServer, stub: Stub, monkeypatch: pytest.MonkeyPatch) -> None:
    number = server.create_project("name")
    for config in ("<View><Choices name='outcome' toName='x'><Choice value='Yes'/></Choices></View>", "<View"):
        stub.projects[number]["label_config"] = config
        with pytest.raises(DuelistError, match="must have the configuration"):
            server.push(number, tasks_of(study.store))
    with pytest.raises(DuelistError, match="answers 404"):
        list(server.items(77))
    stub.valid = "another"
    with pytest.raises(DuelistError, match=f"key in {KEY}") as caught:
        list(server.items(number))
    assert "Token" not in str(caught.value)

    def unreachable(request: httpx2.Request) -> httpx2.Response:
        raise httpx2.ConnectError("nobody there")

    stub.fails = unreachable
    with pytest.raises(DuelistError, match="nobody there"):
        list(server.items(number))
    for url in ("label-studio.example.org", "ftp://x", "http://"):
        with pytest.raises(RecipeError, match="`--url`"):
            LabelStudioServer(url)
    monkeypatch.delenv(KEY)
    with pytest.raises(RecipeError, match=f"variable {KEY} is not set"):
        LabelStudioServer(URL)


OWNER, PASSWORD = "owner@example.org", "secret-password-1"
NEW_KEY = """async () => {
    const csrf = document.cookie.split("; ").find(x => x.startsWith("csrftoken="))?.split("=")[1] || "";
    const headers = {"X-CSRFToken": csrf, "Content-Type": "application/json"};
    const answer = await fetch("/api/token/", {method: "POST", headers, body: "{}"});
    return (await answer.json()).token;
}"""


@contextmanager
def label_studio(home: Path, data: Path) -> Iterator[str]:
    """The real server. Its database is prepared once, which takes minutes, and copied for each run."""
    prepared = home / "duelist-prepared"
    environment = {**os.environ, "COLLECT_ANALYTICS": "False", "LATEST_VERSION_CHECK": "False", "PYTHONUNBUFFERED": "1"}
    environment.pop("PYTHONPATH", None)
    folders = [data] if prepared.is_dir() else [prepared, data]
    for folder in folders:
        if folder == data:
            shutil.copytree(prepared, data)
        folder.mkdir(exist_ok=True)
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        words = [str(home / "bin/label-studio"), "start", "--no-browser", "--internal-host", "127.0.0.1"]
        words += ["--port", str(port), "--username", OWNER, "--password", PASSWORD]
        own = {**environment, "LABEL_STUDIO_BASE_DATA_DIR": str(folder)}
        with (folder / "log.txt").open("w") as log:
            process = subprocess.Popen(
                words, env=own, cwd=folder, stdout=subprocess.PIPE, stderr=log, text=True, start_new_session=True
            )
            try:
                assert process.stdout is not None
                assert any("Starting development server" in line for line in process.stdout), "it did not start"
                if folder == data:
                    yield f"http://127.0.0.1:{port}"
            finally:
                process.kill()
                process.communicate()


def run(*words: str, key: str, code: int = 0) -> str:
    environment = {**os.environ, KEY: key}
    command = [sys.executable, "-m", "duelist", "label-studio", *words]
    done = subprocess.run(command, capture_output=True, text=True, env=environment, check=False)
    assert done.returncode == code, done.stderr
    assert key not in done.stdout + done.stderr
    return done.stdout


@pytest.mark.full
@pytest.mark.timeout(1200)
def test_a_person_votes_at_the_real_label_studio(tmp_path: Path) -> None:
    """Three questions pushed at once; one vote by the mouse, one by a key, one skipped; and all pulled."""
    home = os.environ.get(ELSEWHERE)
    if not home:
        pytest.skip(f"{ELSEWHERE} does not name the folder of an environment with label-studio 1.23")
    api = pytest.importorskip("playwright.sync_api")
    chromium = shutil.which("chromium") or pytest.skip("Chromium is not installed (Debian's package `chromium`)")
    folder = tmp_path / "study"
    with study_of(folder, pairs(3)) as study:
        tasks = tasks_of(study.store)
    with label_studio(Path(home), tmp_path / "data") as url, api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=["--headless", "--no-sandbox"])
        page = browser.new_page()
        page.set_default_timeout(90_000)
        page.goto(f"{url}/user/login/")
        page.fill("input[name=email]", OWNER)
        page.fill("input[name=password]", PASSWORD)
        page.press("input[name=password]", "Enter")
        page.wait_for_url(lambda at: "login" not in at)
        key = page.evaluate(NEW_KEY)
        assert key.count(".") == 2, "a personal access token"
        said_by = run("push", str(folder), "--url", url, key=key)
        number = re.search(r"3 questions sent to project (\d+), 0 were there", said_by)
        assert number is not None, said_by
        again = run("push", str(folder), "--url", url, "--project", number[1], key=key)
        assert again.startswith(f"0 questions sent to project {number[1]}, 3 were there")
        page.goto(f"{url}/projects/{number[1]}/data?labeling=1")
        for task, vote in zip(tasks, ("mouse", "key", "skip"), strict=True):
            first_line = task.texts[0].splitlines()[0]
            page.get_by_text(first_line, exact=False).wait_for()
            left, right = (page.get_by_text(t.splitlines()[0], exact=False).bounding_box() for t in task.texts)
            assert left["x"] < right["x"], "displayed as the task says, texts and not markup"
            if vote == "mouse":
                page.get_by_text("Left is better").click()
            if vote == "key":
                page.keyboard.press("4")
            with page.expect_response(lambda r: "/annotations" in r.url and r.request.method == "POST"):
                page.get_by_test_id(f"bottombar-{'skip' if vote == 'skip' else 'submit'}-button").click()
        browser.close()
        pulled = run("pull", str(folder), "--url", url, "--project", number[1], key=key)
        assert pulled.startswith("3 answers recorded, 0 recorded before, 0 rows left out"), pulled
        repeated = run("pull", str(folder), "--url", url, "--project", number[1], key=key)
        assert repeated.startswith("0 answers recorded, 3 recorded before, 0 rows left out"), repeated
        exported = json.dumps(list(_items(url, int(number[1]), key)))
    with Study.open(folder) as study:
        labels = study.store.labels()
        votes = ("Left is better", "Both bad", "Cannot tell")
        assert said(labels) == {t.question.id: expected(t, v) for t, v in zip(tasks, votes, strict=True)}
        assert all(x.seconds is not None and x.seconds > 0 and x.time is not None for x in labels)
        assert {x.annotator for x in labels} == {"label-studio-1"}
        (tmp_path / "export.json").write_text(exported)
        report = study.import_labels(tmp_path / "export.json")
        assert (report.labels, report.repeated, report.problems) == (0, 3, ())


def _items(url: str, project: int, key: str) -> Iterator[Any]:
    """The tasks of the server's own JSON export, as its page downloads them."""
    with httpx2.Client(base_url=url) as client:
        access = client.post("/api/token/refresh/", json={"refresh": key}).json()["access"]
        answer = client.get(
            f"/api/projects/{project}/export?exportType=JSON", headers={"Authorization": f"Bearer {access}"}
        )
        yield from answer.json()
