"""The labelling page over the real server: a batch by keyboard, undo, reload, an expired session, adjudication."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from desk_world import Clock, FakeSource, act, batch, item, task_of
from http_world import SECRET

from duelist.web.assignment import DeskSettings
from duelist.web.desk import Desk
from duelist.web.items import OpenBatch
from duelist.web.journal import Journal
from duelist.web.page_settings import PageSettings
from duelist.web.serving import Served, ServerSettings, serving
from duelist.web.sql_ledger import SqlLedger

Labelling = tuple[Desk, Served, Callable[..., Any]]


@pytest.fixture
def labelling(browser: Any, tmp_path: Path) -> Iterator[Labelling]:
    """A desk on SQLite behind the real server, and a function that opens a page in a window of its own."""
    ledger, windows, errors = SqlLedger(f"sqlite:///{tmp_path / 'study.db'}"), [], []
    desk = Desk(Journal(ledger, Clock()), FakeSource(), DeskSettings(labels=2))
    with serving(desk, SECRET, ServerSettings(port=0), PageSettings(guidelines="# Be fair")) as served:

        def open_(name: str, role: Any = "annotator") -> Any:
            windows.append(browser.new_context(viewport={"width": 1280, "height": 800}))
            windows[-1].set_default_timeout(15_000)
            windows[-1].on("weberror", lambda error: errors.append(str(error.error)))
            page = windows[-1].new_page()
            page.goto(served.link(name, role))
            return page

        yield desk, served, open_
        for window in windows:
            window.close()
    ledger.close()
    assert errors == []


def on_screen(page: Any) -> list[str]:
    """The ids of the responses as displayed, once a question is on screen."""
    page.wait_for_selector("#question:not([hidden]) [data-response]")
    return [str(x.get_attribute("data-response")) for x in page.locator("#question [data-response]").all()]


def recorded(desk: Desk, count: int) -> None:
    """Wait until so many answers count."""
    with desk.journal.changed:
        assert desk.journal.changed.wait_for(lambda: len(desk.rounds.acts(1)) == count, timeout=60)


def test_a_batch_by_keyboard_alone(labelling: Labelling) -> None:
    desk, _, open_ = labelling
    desk.rounds.open(batch(1, 4))
    page = open_("ann")
    expected = []
    for count, (key, side) in enumerate((("ArrowLeft", 0), ("2", 1), ("ArrowDown", None), ("s", None)), 1):
        shown = on_screen(page)
        page.keyboard.press(key)
        recorded(desk, count)
        expected.append((shown, None if side is None else shown[side]))
    acts = desk.rounds.acts(1)
    assert [(list(a.sent["shown"]), a.sent["chosen"]) for a in acts] == expected
    assert [a.sent["outcome"] for a in acts] == ["prefer", "prefer", "tie", "skip"]
    assert all(a.counts and a.annotator == "ann" and a.sent["active_seconds"] >= 0 for a in acts)


def test_undo_and_a_reload_in_mid_pair(labelling: Labelling) -> None:
    desk, _, open_ = labelling
    desk.rounds.open(batch(1, 3))
    page = open_("ann")
    first = on_screen(page)
    page.keyboard.press("1")
    recorded(desk, 1)
    second = on_screen(page)
    page.reload()
    assert on_screen(page) == second, "the same question on the same sides"
    page.keyboard.press("u")
    recorded(desk, 0)
    page.wait_for_selector(f'#question:not([hidden]) [data-response="{first[0]}"]')
    assert on_screen(page) == first
    page.keyboard.press("2")
    recorded(desk, 1)
    assert desk.rounds.acts(1)[0].sent["chosen"] == first[1]


def test_an_answer_given_after_the_session_ended_arrives_once(labelling: Labelling) -> None:
    desk, served, open_ = labelling
    desk.rounds.open(batch(1, 2))
    page = open_("ann")
    shown = on_screen(page)
    served.roster.revoke("ann")  # and the lease is given back, as after a long lunch
    page.keyboard.press("1")
    page.get_by_text("Your session has ended").first.wait_for()
    assert desk.rounds.acts(1) == []
    page.goto(served.link("ann", "annotator"))
    recorded(desk, 1)
    assert [a.sent["chosen"] for a in desk.rounds.acts(1)] == [shown[0]]


def test_a_ranking_of_four_by_keyboard(labelling: Labelling) -> None:
    desk, _, open_ = labelling
    desk.rounds.open(OpenBatch(1, (item("q", "ranking", 4),)))
    page = open_("ann")
    shown = on_screen(page)
    for key in ("3", "1", "4", "2", "Enter"):
        page.keyboard.press(key)
    recorded(desk, 1)
    sent = desk.rounds.acts(1)[0].sent
    assert sent["shown"] == shown and sent["ranking"] == [[shown[2]], [shown[0]], [shown[3]], [shown[1]]]
    assert [p["id"] for p in sent["placed"]][:3] == [shown[2], shown[0], shown[3]]


def test_an_adjudicator_decides_a_disputed_question_blindly(labelling: Labelling) -> None:
    desk, _, open_ = labelling
    desk.rounds.open(batch(1, 1))
    for who, letter in (("ann", "a"), ("bob", "b")):
        desk.act(who, act(task_of(desk.next(who)), chosen=f"r1q0-{letter}"))
    page = open_("eve", "adjudicator")
    shown = on_screen(page)
    assert page.url.endswith("/adjudicate") and "ann" not in page.inner_text("#main")
    page.keyboard.press("1")
    with desk.journal.changed:
        assert desk.journal.changed.wait_for(lambda: desk.journal.record.adjudications("r1q0"), timeout=60)
    assert desk.journal.record.adjudications("r1q0")[0].sent["chosen"] == shown[0]
