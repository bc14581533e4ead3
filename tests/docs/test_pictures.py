"""The pictures of the report, of a comparison and of the gallery that the documentation shows, seen in Chromium.

`DUELIST_SCREENSHOTS=docs python -m pytest -n 0 -m full tests/docs/test_pictures.py` writes them into docs/, those of
every rule too, which takes some minutes.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from chromium import browser, violations
from duelist import load_recipe
from duelist.compare.beside import run_beside, studies_of
from duelist.compare.curves import Metric
from duelist.compare.picture import draw
from duelist.compare.summary import summarise
from duelist.gallery.plane import write_gallery
from duelist.progress import Silent
from duelist.recipe.components import COMPONENTS
from duelist.report.page import write_report
from duelist.suite.record import read_curves

__all__ = ["browser"]
pytestmark = [pytest.mark.full, pytest.mark.timeout(1800)]

SCREENSHOTS = os.environ.get("DUELIST_SCREENSHOTS")
EVIDENCE = Path(__file__).parents[2] / "docs" / "evidence" / "quickstart" / "curves.csv"
WINDOWS: dict[str, dict[str, Any]] = {
    "desktop": {"viewport": {"width": 1280, "height": 1760}, "color_scheme": "light"},
    "dark": {"viewport": {"width": 1280, "height": 1760}, "color_scheme": "dark"},
    "phone": {"viewport": {"width": 390, "height": 844}, "color_scheme": "light", "device_scale_factor": 2},
}
COLUMN = 704  # CSS pixels: the width of the documentation's text, which pictures fill
RED = np.array([232, 57, 43])  # of the gallery's picks


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where pictures are written, laid out as docs/ is."""
    return Path(SCREENSHOTS) if SCREENSHOTS else tmp_path_factory.mktemp("docs")


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The report of a quickstart with its arm."""
    study = tmp_path_factory.mktemp("studies") / "quickstart"
    recipe = load_recipe("quickstart").model_copy(update={"compare_seeds": 1})
    run_beside(studies_of(study, recipe), Silent(), lambda planned, report: None)
    return write_report(study)


@pytest.mark.parametrize("name", WINDOWS)
def test_the_report_of_a_study(browser: Any, report: Path, folder: Path, name: str) -> None:
    window = browser.new_context(**WINDOWS[name])
    page = window.new_page()
    said: list[str] = []
    page.on("console", lambda message: said.append(message.text))
    page.goto(report.as_uri())
    assert violations(page) == []
    assert said == []
    screen, scale = WINDOWS[name]["viewport"], WINDOWS[name].get("device_scale_factor", 1)
    headline, chart = page.locator(".headline"), page.get_by_role("img", name="Mean reward")
    for seen in [headline] if name == "phone" else [headline, chart]:  # on the first screen
        box = seen.bounding_box()
        assert box["width"] > 100 and box["y"] + box["height"] < screen["height"]
    assert headline.inner_text().startswith("Mean reward ")
    assert page.get_by_text("Map of the pool", exact=True).is_visible()
    size, lightness_HW = kept(page, folder / "report" / f"{name}.png")
    assert size == (screen["width"] * scale, screen["height"] * scale)
    assert (lightness_HW.mean() < 60) if name == "dark" else (lightness_HW.mean() > 200)
    window.close()


def test_a_comparison(browser: Any, tmp_path: Path, folder: Path) -> None:
    rows = read_curves(EVIDENCE)
    summary = summarise(rows, Metric("mean_reward", True), "random")
    assert summary is not None
    draw([summary], "quickstart: " + ", ".join(rows), tmp_path / "curves")
    window = browser.new_context(viewport={"width": 1280, "height": 800}, device_scale_factor=2)
    page = window.new_page()
    page.goto((tmp_path / "curves.svg").as_uri())
    for words in ("paired difference to random", *(f"{arm} (20 seeds)" for arm in rows)):
        assert page.get_by_text(words).is_visible()
    size, _ = kept(page.locator("svg"), folder / "report" / "compare.png")
    assert size[0] >= 2 * COLUMN
    window.close()


def test_the_gallery(browser: Any, folder: Path) -> None:
    rules = list(COMPONENTS["acquisition"]) if SCREENSHOTS else ["random", "activedpo"]
    page = browser.new_page()
    for rule, path in zip(rules, write_gallery(folder / "methods" / "gallery", rules), strict=True):
        page.goto(path.absolute().as_uri())
        width, height = page.locator("img").evaluate("one => [one.naturalWidth, one.naturalHeight]")
        assert width >= 2 * COLUMN, rule  # sharp on dense screens
        with Image.open(path) as picture:
            colour_HW3 = np.asarray(picture.convert("RGB"))
        assert colour_HW3.shape == (height, width, 3)
        red_W = (np.abs(colour_HW3 - RED).max(axis=2) < 24)[: height * 5 // 6].sum(axis=0)  # above the legend
        shares = [part_W.sum() / height**2 for part_W in np.array_split(red_W, 5)]
        assert shares[0] == 0 and min(shares[1:]) > 0.003, (rule, shares)  # the true reward, then picks in each round
    page.close()


def kept(shown: Any, path: Path) -> tuple[tuple[int, int], np.ndarray[Any, Any]]:
    """Write what a page or an element shows with few colours, since it is committed; return its size and lightness."""
    path.parent.mkdir(parents=True, exist_ok=True)
    shown.screenshot(path=path)
    with Image.open(path) as picture:
        small = picture.convert("RGB").quantize(128)
    small.save(path, optimize=True)
    lightness_HW = np.asarray(small.convert("L"))
    assert len(np.unique(lightness_HW)) > 20  # not blank
    return small.size, lightness_HW
