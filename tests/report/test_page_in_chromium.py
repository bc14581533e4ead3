"""The report in Chromium: axe finds nothing in any of its states, it needs no network, and fits a phone.

`DUELIST_SCREENSHOTS=folder` keeps pictures.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from PIL import Image
from test_page import begin, whole

import small_sets
import small_study
from chromium import DESKTOP, PHONE, browser, violations
from duelist.report.page import write_report
from duelist.report.sections import Section, Table

__all__ = ["browser"]
pytestmark = pytest.mark.full


def beside(folder: Path) -> None:
    """A study with an arm."""
    whole(folder, [0.1, 0.2, 0.3])
    whole(folder / "compare/random", [0.1, 0.15, 0.2])


STUDIES: dict[str, Callable[[Path], object]] = {
    "begun": lambda folder: begin(folder).close(),
    "pairs": small_study.finished,
    "sets": small_sets.finished,
    "beside": beside,
}


@pytest.fixture(scope="module")
def reports(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    section = Section("checks", "Checks", ["All is well."], Table("Checks", ["check", "result"], [["one", "good"]]))
    found = {}
    for name, make in STUDIES.items():
        folder = tmp_path_factory.mktemp(name) / "study"
        make(folder)
        found[name] = write_report(folder, sections=[section])
    return found


@pytest.mark.parametrize(("size", "width"), [("desktop", DESKTOP), ("phone", PHONE)])
@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("name", STUDIES)
def test_axe_finds_nothing(
    browser: Any,
    reports: dict[str, Path],
    tmp_path: Path,
    name: str,
    scheme: str,
    size: str,
    width: dict[str, int],
) -> None:
    window = browser.new_context(viewport=width, color_scheme=scheme)
    page = window.new_page()
    said: list[str] = []
    asked: list[str] = []
    page.on("console", lambda message: said.append(message.text))
    page.on("request", lambda request: asked.append(request.url))
    page.goto(reports[name].as_uri())
    assert violations(page) == []
    page.evaluate("document.querySelectorAll('details').forEach(one => { one.open = true })")
    assert violations(page) == []
    assert page.evaluate("document.documentElement.scrollWidth") == width["width"]  # only tables scroll sideways
    term = page.locator(".term").first
    term.click()
    assert page.locator(":popover-open").inner_text().startswith(str(term.inner_text()))
    assert violations(page) == []
    assert said == [] and asked == [reports[name].as_uri()]  # nothing is blocked, and nothing else is loaded
    folder = Path(os.environ.get("DUELIST_SCREENSHOTS") or tmp_path)
    file = folder / f"report_{name}_{size}_{scheme}.png"
    page.screenshot(path=file)
    with Image.open(file) as picture:
        assert len(set(picture.convert("L").getdata())) > 20  # not a blank page
    window.close()


def test_a_round_s_picks_can_be_seen_alone(browser: Any, tmp_path: Path) -> None:
    from test_pool_map import with_pool

    with_pool(tmp_path)
    page = browser.new_page(viewport=DESKTOP)
    page.goto(write_report(tmp_path).as_uri())
    shown = "[...document.querySelectorAll('.pick')].filter(p => getComputedStyle(p).opacity === '1').length"
    assert page.evaluate(shown) == 6
    page.get_by_role("radio", name="round 2").check()
    assert page.evaluate(shown) == 3
    page.close()
