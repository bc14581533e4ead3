"""The owner's dashboard in Chromium, over the real server: numbers, decisions, live changes, accessibility."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from desk_world import FakeSource, act, desk_with, gold, task_of
from http_world import SECRET

from duelist.web.assignment import DeskSettings
from duelist.web.desk import Desk
from duelist.web.items import Insight
from duelist.web.page_settings import PageSettings
from duelist.web.serving import Served, ServerSettings, serving
from duelist.web.tasks import Task

NAME = "ann <script>alert(1)</script>"


def labelled() -> Desk:
    """A desk where two people disagreed on one question, and one failed a gold question."""
    curve = tuple({"round": t, "labels": 8 * t, "win_rate": 0.5 + 0.1 * t} for t in range(3))
    source = FakeSource(insights=Insight(curve, 0.0123, 40))
    desk = desk_with(4, DeskSettings(labels=2, gold_rate=0.3), gold=[gold(f"g{i}") for i in range(9)], source=source)
    for who, letter in ((NAME, "a"), ("bob", "b")):
        while isinstance(task := desk.next(who), Task):
            desk.act(who, act(task_of(task), chosen=f"{task.item.id}-{letter}", active_seconds=30.0))
    return desk


def has(page: Any, place: str, words: str) -> None:
    """Wait until an element has these words. (A function to wait for would need `eval`, which the page forbids.)"""
    page.locator(place, has_text=words).wait_for()


@pytest.fixture
def dashboard(browser: Any) -> Iterator[tuple[Served, Any]]:
    desk, errors = labelled(), []
    with serving(desk, SECRET, ServerSettings(port=0), PageSettings(hourly_wage=30.0)) as served:
        for name in (NAME, "bob"):
            served.link(name, "annotator")
        window = browser.new_context(viewport={"width": 390, "height": 844})
        window.set_default_timeout(15_000)
        window.on("weberror", lambda error: errors.append(str(error.error)))
        window.on("console", lambda message: errors.append(message.text) if message.type == "error" else None)
        page = window.new_page()
        page.goto(served.link("olga", "owner"))
        has(page, "#connection", "live")
        yield served, page
        window.close()
    assert errors == []


def test_the_dashboard_shows_what_happened(dashboard: tuple[Served, Any]) -> None:
    _, page = dashboard
    numbers = page.inner_text("#numbers")
    for words in ("0.0123", "40 labels, 20.0 min, 10.00 EUR", "0 %"):
        assert words in numbers
    assert NAME in page.inner_text("#people") and page.locator("#people script").count() == 0
    assert page.locator("#disputed tbody tr").count() == 4
    assert page.locator("#pace rect").count() == 24 and page.locator("#curve circle").count() == 3
    assert "8: 0.600" in page.get_attribute("#curve svg", "aria-label")
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth"), "usable at 390 pixels"


def test_the_owner_decides(dashboard: tuple[Served, Any]) -> None:
    served, page = dashboard
    page.click("#pause")
    page.wait_for_selector("#pause[aria-pressed=true]")
    has(page, "#standing", "paused")
    page.fill("#invite-name", "cid")
    page.keyboard.press("Enter")
    page.wait_for_selector("#link:not([hidden])")
    link = page.input_value("#link-text")
    assert link.startswith(f"{served.address}/join/")
    has(page, "#people", "cid")
    page.on("dialog", lambda dialog: dialog.accept())
    page.get_by_role("button", name="Revoke the access of cid").click()
    has(page, "#people", "annotator, revoked")
    page.get_by_role("button", name="Ask one more person about").first.click()
    has(page, "#disputed", "2 of 3")
    member = served.roster.member("cid")
    assert member is not None and not member.active


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_finds_nothing_on_the_dashboard(dashboard: tuple[Served, Any], scheme: Any) -> None:
    axe = pytest.importorskip("axe_playwright_python.sync_playwright", reason="accessibility is tested with axe")
    _, page = dashboard
    page.emulate_media(color_scheme=scheme)
    found = axe.Axe().run(page)
    assert found.violations_count == 0, found.generate_report()
