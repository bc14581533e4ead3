"""axe finds nothing on any state of the page, light and dark; the same states are the pictures of the documentation.

`DUELIST_SCREENSHOTS=folder` keeps the pictures.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from page_questions import nearly_equal_pair, pairs, ranking, rich_pair
from page_stub import PageStub, serving
from PIL import Image

pytestmark = pytest.mark.full

REASONS = ["more correct", "clearer", "better style", "safer"]
GUIDELINES = "<h1>Tea</h1><h3>What we look for</h3><p>Prefer the answer that <strong>helps</strong> more.</p>" * 12


def place(page: Any) -> None:
    for key in ("3", "1", "=", "4"):
        page.keyboard.press(key)


def sign_out(page: Any) -> None:
    page.context.set_offline(True)
    page.keyboard.press("1")
    page.wait_for_selector(".notice")


STATES: dict[str, tuple[list[Any], Callable[[Any], object]]] = {
    "pair": ([rich_pair(), *pairs(3)], lambda page: None),
    "pair_apart": ([rich_pair(), *pairs(3)], lambda page: page.keyboard.press("l")),
    "differences": ([nearly_equal_pair()], lambda page: page.keyboard.press("d")),
    "better": ([rich_pair()], lambda page: page.keyboard.press("b")),
    "comment": ([rich_pair()], lambda page: page.keyboard.press("c")),
    "ranking": ([ranking()], place),
    "best_worst": ([ranking(asks="best_worst")], lambda page: page.keyboard.press("2")),
    "guidelines": ([rich_pair()], lambda page: page.keyboard.press("?")),
    "settings": ([rich_pair()], lambda page: page.click("#open-settings")),
    "trouble": (pairs(3), sign_out),
    "waiting": ([], lambda page: None),
}
SIZES = {"desktop": {"width": 1280, "height": 800}, "phone": {"width": 390, "height": 844}}


def violations(page: Any) -> list[str]:
    axe = pytest.importorskip("axe_playwright_python.sync_playwright", reason="axe-playwright-python is not installed")
    found = axe.Axe().run(page).response["violations"]
    return [f"{one['id']}: {node['html']} {node['failureSummary']}" for one in found for node in one["nodes"]]


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = Path(os.environ.get("DUELIST_SCREENSHOTS") or tmp_path_factory.mktemp("pictures"))
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def arrange(page: Any, questions: list[Any], prepare: Callable[[Any], object]) -> None:
    page.wait_for_selector("#question:not([hidden])" if questions else "#waiting[data-reason=finished]")
    page.wait_for_load_state("networkidle")
    prepare(page)


@pytest.mark.parametrize(("size", "scheme"), [("desktop", "light"), ("desktop", "dark"), ("phone", "light")])
@pytest.mark.parametrize("state", STATES)
def test_axe_finds_nothing(open_page: Any, pictures: Path, state: str, size: str, scheme: str) -> None:
    questions, prepare = STATES[state]
    window = {"color_scheme": scheme, "reduced_motion": "reduce"}
    study = {"reasons": REASONS, "guidelines_html": GUIDELINES, "write_better": True, "strength": state == "pair"}
    _, page = open_page(questions, SIZES[size], window, **study)
    arrange(page, questions, prepare)
    assert violations(page) == []
    file = pictures / f"annotate_{state}_{size}_{scheme}.png"
    page.screenshot(path=file)
    with Image.open(file) as picture:
        assert picture.size == tuple(SIZES[size].values())
        assert len(set(picture.convert("L").getdata())) > 20  # not a blank page


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_finds_nothing_when_signed_out(browser: Any, pictures: Path, scheme: str) -> None:
    with serving(PageStub([])) as stub:
        page = browser.new_page(viewport=SIZES["desktop"], color_scheme=scheme)
        assert page.goto(stub.url).status == 401
        assert page.is_visible("text=Open your personal link again")
        assert violations(page) == []
        page.screenshot(path=pictures / f"annotate_signed_out_desktop_{scheme}.png")
        page.close()
