"""The real `duelist annotate` process: commands while it runs, kills, and a person in Chromium who labels a study."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor, wait
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx2
import pytest
from annotate_process import Annotate, wait_for_end
from databases import postgresql
from simulated import Annotator, Crowd, require_faithful
from study_world import asked_study, pairs
from typer.testing import CliRunner

from duelist import Study, parse_recipe
from duelist.cli.annotate import serve
from duelist.cli.app import app
from duelist.store.artifacts import digest
from duelist.types import Label
from duelist.web.commands import SERVER
from duelist.web.record import Record, derive
from duelist.web.served_study import LEDGER, ledger_url
from duelist.web.sql_ledger import read_events
from duelist.web.verify import verify
from outcomes import smaller


def command(*words: str) -> str:
    """What a `duelist` command prints; it must succeed."""
    done = CliRunner().invoke(app, list(words), catch_exceptions=False)
    assert done.exit_code == 0, done.output
    return done.output.strip()


def record_of(folder: Path) -> Record:
    return derive(read_events(ledger_url(folder)))


@pytest.fixture
def start() -> Iterator[Callable[..., Annotate]]:
    """Return a function that starts the command; what still runs at the end is killed."""
    with ExitStack() as stack:

        def start_(folder: Path, port: int = 0, *options: str) -> Annotate:
            running = Annotate(folder, port, *options)
            stack.callback(running.kill)
            return running

        yield start_


def test_commands_and_votes_while_it_runs(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    """`duelist annotate` in a thread, to the end of the first round's answers."""

    class NoWork:
        """The worker, told to stop before it trains."""

        def __init__(self, *_: Any) -> None: ...

        def __enter__(self) -> NoWork:
            return self

        def __exit__(self, *_: object) -> None: ...

        def run(self, task: str, _: Callable[[], bool]) -> bool:
            assert task == "update"
            return False

    monkeypatch.setattr("duelist.web.served_study.Worker", NoWork)
    folder, file = tmp_path / "s", tmp_path / "told.jsonl"
    asked_study(folder, pairs(4))
    with ThreadPoolExecutor(1) as pool, Study.open(folder) as study:
        ended, announced, said = pool.submit(serve, study, None, False, True, port=0), folder / SERVER, ""
        while "/join/" not in said and not ended.done():
            wait([ended], 0.01)
            said += capsys.readouterr().out
        address = json.loads(announced.read_text("utf-8"))["address"]
        link = command("annotators", "add", str(folder), "ann")
        assert link.startswith(f"{address}/join/"), "the link is that of the server that runs"
        asked = {x.question.id for x in pairs(4)}
        row = {"pair_id": min(asked), "annotator": "zoe", "outcome": "tie"}
        file.write_text(json.dumps(row) + "\n", encoding="utf-8")
        assert command("tell", str(folder), str(file)) == "1 answers recorded."
        with pytest.raises(Exception, match="nobody"):
            CliRunner().invoke(app, ["annotators", "revoke", str(folder), "nobody"], catch_exceptions=False)
        assert command("annotators", "list", str(folder)).splitlines()[1] == "ann\tannotator\tactive\t0 answers"
        ann = Annotator("ann", link, 1, 3, Crowd())
        ann.work()
        ended.result()
    assert not announced.exists()
    require_faithful([e for e in read_events(ledger_url(folder)) if e.kind != "imported"], [ann], k=1)
    with Study.open(folder) as study:
        who = {x.pair_id: x.annotator for x in study.store.current_labels()}
    assert who == dict.fromkeys(asked, "ann") | {min(asked): "zoe"}
    assert command("verify", str(folder)) == "Nothing is wrong."
    announced.write_text(json.dumps({"address": address}), encoding="utf-8")
    assert "/join/" in command("annotators", "add", str(folder), "bob"), "what a killed server left misleads nobody"


@pytest.mark.full
def test_commands_votes_and_a_kill_while_it_runs(start: Callable[..., Annotate], tmp_path: Path) -> None:
    folder = tmp_path / "s"
    asked_study(folder, pairs(8))
    server = start(folder)
    link = command("annotators", "add", str(folder), "ann")
    assert link.startswith(f"{server.address}/join/"), "the link is that of the server that runs"
    ann = Annotator("ann", link, 1, 3, Crowd())
    ann.work()
    file = tmp_path / "told.jsonl"
    asked = {x.question.id for x in pairs(8)}
    left = sorted(asked - {sent["question_id"] for sent in ann.acknowledged.values()})
    file.write_text(json.dumps({"pair_id": left[0], "annotator": "zoe", "outcome": "tie"}) + "\n", encoding="utf-8")
    assert command("tell", str(folder), str(file)) == "1 answers recorded."
    with pytest.raises(Exception, match="nobody"):
        CliRunner().invoke(app, ["annotators", "revoke", str(folder), "nobody"], catch_exceptions=False)
    server.kill()
    assert (folder / SERVER).exists(), "it had no time to clean up"

    server = start(folder, server.port)
    again = Annotator("ann", command("annotators", "add", str(folder), "ann"), 2, 2, ann.crowd)
    again.work()
    code, said = server.interrupt()
    assert code == 130 and "Nothing recorded is lost" in said and "Traceback" not in said
    assert not (folder / SERVER).exists()
    for one in (again, ann):
        ann.acknowledged |= one.acknowledged
        ann.undone |= one.undone
        ann.shown |= one.shown
    require_faithful([e for e in read_events(ledger_url(folder)) if e.kind != "imported"], [ann], k=1)
    assert command("annotators", "list", str(folder)).splitlines()[1].startswith("ann\tannotator\tactive")
    assert command("verify", str(folder)) == "Nothing is wrong."


# A person in Chromium


@dataclass
class Scripted:
    """A person who answers by keyboard, and remembers what was on screen and what was pressed."""

    page: Any
    pressed: list[tuple[list[str], str]] = field(default_factory=list)

    def on_screen(self) -> list[str] | None:
        """The responses as displayed, once a question other than the last is on screen; None if all is finished."""
        last = self.pressed[-1][0] if self.pressed else []
        self.page.wait_for_function(
            """last => {
                const shown = [...document.querySelectorAll('#question:not([hidden]) [data-response]')];
                const ids = shown.map((x) => x.dataset.response);
                const finished = document.querySelector('#waiting[data-reason=finished]:not([hidden])');
                return finished || (ids.length > 0 && ids.join() !== last.join());
            }""",
            arg=last,
        )
        shown = [str(x.get_attribute("data-response")) for x in self.page.locator("#question [data-response]").all()]
        return shown if shown and shown != last else None

    def answer(self, key: str = "") -> bool:
        """Answer the question on screen, by a key or else for the greater id; return false if all is finished."""
        shown = self.on_screen()
        if shown is None:
            return False
        key = key or ("ArrowLeft" if shown[0] > shown[1] else "ArrowRight")
        self.page.keyboard.press(key)
        self.pressed.append((shown, key))
        return True

    def require_recorded(self, record: Record) -> dict[str, str]:
        """Compare what was pressed with the ledger, one to one; return the chosen response by question."""
        acts = [a for a in record.acts.values() if a.annotator == "ann"]
        side = {"ArrowLeft": 0, "ArrowRight": 1}
        expected = [(shown, shown[side[key]]) for shown, key in self.pressed]
        assert sorted((list(a.sent["shown"]), str(a.sent["chosen"])) for a in acts) == sorted(expected)
        assert all(a.counts for a in acts) and len({a.question_id for a in acts}) == len(acts)
        return {a.question_id: str(a.sent["chosen"]) for a in acts}


@pytest.fixture
def window(browser: Any) -> Iterator[Any]:
    context = browser.new_context(viewport={"width": 1280, "height": 800})
    context.set_default_timeout(200_000)  # while the study samples or trains
    yield context
    context.close()


def scripted(window: Any, folder: Path) -> Scripted:
    page = window.new_page()
    page.goto(command("annotators", "add", str(folder), "ann"))
    return Scripted(page)


@pytest.fixture
def people_recipe(tiny_recipe: dict[str, Any]) -> dict[str, Any]:
    return {**tiny_recipe, "annotator": {"name": "people"}, "evaluation": {"max_new_tokens": 6}}


@pytest.mark.full
@pytest.mark.timeout(600)
@pytest.mark.parametrize("lookahead", [0, 1])
def test_a_study_labelled_in_chromium_ends_with_the_adapter_that_tell_gives(
    start: Callable[..., Annotate], window: Any, people_recipe: dict[str, Any], tmp_path: Path, lookahead: int
) -> None:
    recipe, folder = {**people_recipe, "lookahead": lookahead}, tmp_path / "served"
    Study.create(folder, parse_recipe(recipe)).close()
    server = start(folder)
    person = scripted(window, folder)
    while person.answer():
        pass
    code, said = server.end()
    assert code == 0 and "Every round is closed." in said, said
    chosen = person.require_recorded(record_of(folder))
    assert len(chosen) == 12 and verify(folder, ledger_url(folder)) == []
    with Study.create(tmp_path / "told", parse_recipe({**recipe, "annotator": None})) as told:
        while told.rounds_left:
            batch = told.ask()
            told.tell([Label(p.id, "ann", "a" if chosen[p.id] == p.a.id else "b") for p in batch.pairs])
            told.update()
    assert digest(folder / "adapter") == digest(tmp_path / "told" / "adapter")


@pytest.mark.full
@pytest.mark.timeout(600)
def test_kills_between_and_during_votes_lose_double_and_mis_side_nothing(
    start: Callable[..., Annotate], window: Any, tmp_path: Path
) -> None:
    folder = tmp_path / "s"
    asked_study(folder, pairs(9))
    server = start(folder)
    person = scripted(window, folder)
    for _ in range(2):
        for _ in range(3):
            person.answer()
        person.on_screen()  # between votes: the last is on its way or recorded
        server.kill()
        server = start(folder, server.port)
        person.answer()  # during a vote
        server.kill()
        server = start(folder, server.port)
    with httpx2.Client(follow_redirects=True) as owner:
        owner.get(server.owner)
        for _ in range(300):  # the page sends again what was not acknowledged, at its own pace
            if owner.get(f"{server.address}/api/owner/state").json()["labels"]["answers"] == 8:
                break
            person.page.wait_for_timeout(200)
    server.interrupt()
    person.require_recorded(record_of(folder))
    assert len(person.pressed) == 8 and verify(folder, ledger_url(folder)) == []


@pytest.mark.full
@pytest.mark.timeout(600)
def test_what_trains_ends_with_the_server_and_the_study_goes_on(
    start: Callable[..., Annotate], people_recipe: dict[str, Any], tmp_path: Path
) -> None:
    folder = tmp_path / "s"
    Study.create(folder, parse_recipe(people_recipe)).close()
    server = start(folder)
    while "choosing" not in server.state():
        pass
    server.state()  # the worker has reported: it computes
    (worker, *others) = sorted(server.children(), reverse=True)
    server.kill()
    for pid in (worker, *others):
        assert wait_for_end(pid), "a process of a killed server must end"
    server = start(folder)
    ann = Annotator("ann", command("annotators", "add", str(folder), "ann"), 1, 1, Crowd())
    while not ann.acknowledged and not ann.problems:  # until the first batch is chosen
        server.state()
        ann.__post_init__()
        ann.work()
    assert ann.problems == [] and len(ann.acknowledged) == 1
    code, _ = server.interrupt()
    assert code == 130


@pytest.mark.full
@pytest.mark.timeout(600)
def test_killed_while_it_trains_a_study_ends_with_the_adapter_that_tell_gives(
    start: Callable[..., Annotate], people_recipe: dict[str, Any], tmp_path: Path
) -> None:
    recipe, folder = {**smaller(people_recipe), "rounds": 1}, tmp_path / "s"
    Study.create(folder, parse_recipe(recipe)).close()
    server = start(folder)
    while "people answer" not in server.state():
        pass
    ann = Annotator("ann", command("annotators", "add", str(folder), "ann"), 1, 99, Crowd())
    ann.work()  # to the end of the batch
    while not server.state().startswith("Training"):
        pass
    worker = max(server.children())
    os.kill(worker, signal.SIGKILL)  # both at once
    server.kill()
    assert wait_for_end(worker)
    code, said = start(folder).end()
    assert code == 0 and "Every round is closed." in said
    require_faithful(read_events(ledger_url(folder)), [ann], k=1)
    assert verify(folder, ledger_url(folder)) == []
    with Study.open(folder) as study:
        labels = study.store.current_labels()
    assert len(labels) == recipe["budget"] and {x.id for x in labels} == ann.acknowledged.keys() - ann.undone.keys()
    with Study.create(tmp_path / "told", parse_recipe({**recipe, "annotator": None})) as told:
        told.ask()
        told.tell([Label(x.pair_id, "ann", x.outcome) for x in labels])
        told.update()
    assert digest(folder / "adapter") == digest(tmp_path / "told" / "adapter")


@pytest.mark.full
def test_a_ledger_on_postgresql_is_of_one_study(start: Callable[..., Annotate], tmp_path: Path) -> None:
    folder, other = tmp_path / "s", tmp_path / "other"
    asked_study(folder, pairs(4))
    asked_study(other, [x for x in pairs(8) if x.position >= 4])
    with postgresql() as url:
        server = start(folder, 0, "--store", url)
        ann = Annotator("ann", command("annotators", "add", str(folder), "ann"), 1, 3, Crowd())
        ann.work()
        server.interrupt()
        require_faithful(read_events(url), [ann], k=1)
        assert not (folder / LEDGER).exists()
        assert command("verify", str(folder), "--store", url) == "Nothing is wrong."
        with pytest.raises(AssertionError, match="a database of its own"):
            start(other, 0, "--store", url)
