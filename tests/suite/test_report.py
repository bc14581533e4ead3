"""The report from stored numbers: what it says of each kind of world, and that it needs nothing but the files."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from duelist.compare.tables import curves_csv
from duelist.errors import DataError
from duelist.suite.record import SuiteRecord, WorldRecord, write_record
from duelist.suite.report import report, write_report

LABELS = np.arange(0, 129, 16)
SEEDS = tuple(range(12))


def curves(height: float, reach: float, seed: int, noise: float = 0.01) -> list[dict[str, float]]:
    """A curve that rises to a height along 1 − exp(−labels / reach), with noise and a level of its seed."""
    own = np.random.default_rng([seed, round(1000 * reach), round(1000 * height)])
    level = np.random.default_rng(seed).normal()
    j = level + height * (1 - np.exp(-LABELS / reach)) + noise * own.normal(size=len(LABELS)) * (LABELS > 16)
    return [
        {"round": float(i), "labels": float(x), "annotation_seconds": 40.0 * x, "j": value}
        for i, (x, value) in enumerate(zip(LABELS.tolist(), j.tolist(), strict=True))
    ]


def world(folder: Path, name: str, arms: dict[str, tuple[float, float]], **own: object) -> WorldRecord:
    """A world whose arms rise to a height with a reach; the first batch is shared to within noise."""
    rows = {arm: {s: curves(*shape, s) for s in SEEDS} for arm, shape in arms.items()}
    (folder / name).mkdir(parents=True)
    (folder / name / "curves.csv").write_text(curves_csv(rows))
    what = {arm: f"what {arm} is" for arm in arms if arm != "random"}
    settings = {"training": None, "metric": "j", "beside": (), "first_batch": 16, "failed": {}} | own
    return WorldRecord(f"World {name}", f"Of {name}.", "quickstart", ("a.b=1",), arms=what, **settings)  # type: ignore[arg-type]


def record(worlds: dict[str, WorldRecord], **own: object) -> SuiteRecord:
    settings = {"skipped": {"hh": "its data are absent"}, "repeated": None} | own
    libraries = {"torch": "2"}
    return SuiteRecord("duelist suite -o s", "9.9", "a machine", libraries, "rule", SEEDS, worlds, **settings)  # type: ignore[arg-type]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    worlds = {
        "base": world(
            tmp_path,
            "base",
            {"random": (1.0, 60.0), "rule": (1.1, 30.0), "look_ahead": (1.2, 10.0), "floor": (0.6, 60.0)},
        ),
        "flat": world(
            tmp_path, "flat", {"random": (0.0, 58.0), "rule": (0.0, 61.0), "look_ahead": (0.0, 62.0)}, unit="base"
        ),
        "quick": world(
            tmp_path, "quick", {"random": (1.0, 60.0), "rule": (0.7, 60.0)}, failed={"rule, seed 3": "it broke"}
        ),
    }
    worlds["data"] = world(tmp_path, "data", {"random": (1.0, 60.0), "rule": (1.0, 55.0)}, data_set=True)
    write_record(tmp_path, record(worlds))
    return tmp_path


def rows_of(text: str, title: str) -> dict[str, list[str]]:
    """The rows of the first table after a title, by their first cell."""
    after = text.partition(title)[2].partition("\n## ")[0]
    lines = [line.strip("| ").split(" | ") for line in after.splitlines() if line.startswith("| ")]
    return {cells[0]: cells for cells in lines[1:]}


def test_the_verdicts(folder: Path) -> None:
    text = report(folder)
    verdicts = rows_of(text, "## The rule under test, `rule`")
    assert verdicts["base"][1] == "yes" and verdicts["base"][3] == "passes"
    assert verdicts["base"][5].startswith("shown (p ")
    assert verdicts["flat"][1] == "no: it says nothing about rules" and verdicts["flat"][3] == "passes"
    assert verdicts["flat"][4] == "–" and verdicts["flat"][5] == "not asked"
    assert verdicts["data"][5].startswith("not shown (p ")  # asked, although no reference was run
    assert verdicts["quick"][1] == "no reference was run" and verdicts["quick"][3] == "fails"
    arms = rows_of(text, "## World base (`base`)")
    assert set(arms) == {"rule", "look_ahead", "floor"} and "never" in arms["floor"][5]
    assert arms["rule"][3].startswith("+") and arms["floor"][3].startswith("-")


def test_it_says_how_it_was_made(folder: Path) -> None:
    text = report(folder)
    for words in ("duelist suite -o s", "12 seeds, 0 to 11", "Duelist 9.9, torch 2; a machine", "`a.b=1`"):
        assert words in text
    assert "Failed: rule, seed 3: it broke" in text and "- Not run: hh, because its data are absent." in text
    assert "; shares are of its gain in the base world." in text


def test_the_same_files_give_the_same_page_in_labels_or_seconds(folder: Path, tmp_path: Path) -> None:
    path = write_report(folder, tmp_path / "page.md")
    assert path.read_text(encoding="utf-8") == report(folder)
    seconds = report(folder, "annotation_seconds")
    assert "seconds to random's end" in seconds and "of 5120" in seconds and "labels to random's end" not in seconds


def test_a_folder_without_a_record_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"must hold suite\.json"):
        report(tmp_path)
