"""Pictures of the report and of a comparison for the documentation, taken in Chromium.

    python benchmarks/report_pictures.py [-o docs/report] [--study DIR]

Runs `quickstart` (about two minutes) unless a finished study is given, writes its report, and photographs it at the
width of a desktop, light and dark, and of a phone. The comparison is that of docs/evidence/quickstart, drawn again from
its curves.csv.
"""

from __future__ import annotations

import argparse
import shutil
import tempfile
from pathlib import Path
from typing import Any

from PIL import Image

from duelist.compare.curves import Metric
from duelist.compare.picture import draw
from duelist.compare.summary import summarise
from duelist.report.page import write_report
from duelist.suite.record import read_curves

EVIDENCE = Path(__file__).parent.parent / "docs/evidence/quickstart/curves.csv"
PICTURES: dict[str, dict[str, Any]] = {
    "desktop": {"viewport": {"width": 1280, "height": 1760}, "color_scheme": "light"},
    "dark": {"viewport": {"width": 1280, "height": 1760}, "color_scheme": "dark"},
    "phone": {"viewport": {"width": 390, "height": 844}, "color_scheme": "light", "device_scale_factor": 2},
}
COLOURS = 128  # small files: they are committed


def main() -> None:
    """Write the pictures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("-o", "--output", type=Path, default=Path("docs/report"))
    parser.add_argument("--study", type=Path)
    arguments = parser.parse_args()
    arguments.output.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="duelist-report-") as scratch:
        study = arguments.study or run_quickstart(Path(scratch) / "study")
        photograph(write_report(study, Path(scratch) / "report.html"), arguments.output)
    draw_comparison(arguments.output)


def run_quickstart(folder: Path) -> Path:
    """Run the quickstart and its arm."""
    from duelist.compare.beside import run_beside, studies_of
    from duelist.progress import Silent, quiet_libraries
    from duelist.recipe.recipe import load_recipe

    quiet_libraries()
    run_beside(studies_of(folder, load_recipe("quickstart")), Silent(), lambda study, report: None)
    return folder


def photograph(report: Path, folder: Path) -> None:
    """Write a picture of the report for each of `PICTURES`."""
    from playwright.sync_api import sync_playwright

    arguments = ["--headless", "--no-sandbox", "--disable-gpu", "--disable-background-networking"]
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=arguments)
        for name, options in PICTURES.items():
            page = browser.new_context(**options).new_page()
            page.goto(report.resolve().as_uri())
            page.screenshot(path=folder / f"{name}.png")
            shrink(folder / f"{name}.png")
        browser.close()


def draw_comparison(folder: Path) -> None:
    """Draw the comparison of the evidence again."""
    rows = read_curves(EVIDENCE)
    summary = summarise(rows, Metric("mean_reward", True), "random")
    assert summary is not None
    draw([summary], "quickstart: " + ", ".join(rows), folder / "compare")
    (folder / "compare.svg").unlink()
    shrink(folder / "compare.png")


def shrink(path: Path) -> None:
    """Reduce a picture to few colours."""
    with Image.open(path) as picture:
        small = picture.convert("RGB").quantize(COLOURS)
    small.save(path, optimize=True)


if __name__ == "__main__":
    main()
