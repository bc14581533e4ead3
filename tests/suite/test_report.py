"""The report from stored numbers: what it says of each kind of world, and that it needs nothing but the files."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from duelist.compare.tables import curves_csv
from duelist.errors import DataError
from duelist.suite.record import (
    CURVES,
    SuiteRecord,
    WorldRecord,
    continued,
    left_out,
    read_curves,
    seeds_in_words,
    write_record,
)
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
    assert verdicts["base"][1:3] == ["12", "yes"] and verdicts["base"][4] == "passes"
    assert verdicts["base"][6].startswith("shown (p ")
    assert verdicts["flat"][2] == "no: it says nothing about rules" and verdicts["flat"][4] == "passes"
    assert verdicts["flat"][5] == "–" and verdicts["flat"][6] == "not asked"
    assert verdicts["data"][6].startswith("not shown (p ")  # asked, although no reference was run
    assert verdicts["quick"][2] == "no reference was run" and verdicts["quick"][4] == "fails"
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


def test_a_half_finished_suite_says_so_and_decides_nothing(folder: Path) -> None:
    """Two of twelve seeds have finished: no verdict, whatever the numbers are."""
    for name in ("base", "data"):
        rows = read_curves(folder / name / CURVES)
        (folder / name / CURVES).write_text(curves_csv({arm: {s: of[s] for s in (0, 1)} for arm, of in rows.items()}))
    text = report(folder)
    assert "**Not finished.** Of 12 seeds, the rule and random have: base 2, data 2." in text
    assert "**Fewer than 8 seeds: this decides nothing" in text
    verdicts = rows_of(text, "## The rule under test, `rule`")
    assert verdicts["base"][1] == "2" and verdicts["base"][4] == "–" and verdicts["data"][6] == "not asked"
    assert verdicts["quick"][1] == "12" and verdicts["quick"][4] == "fails"


def test_shares_of_a_base_world_that_was_not_run_are_not_blamed_on_the_gain(tmp_path: Path) -> None:
    alone = world(tmp_path, "flat", {"random": (0.0, 58.0), "rule": (0.0, 61.0)}, unit="base")
    write_record(tmp_path, record({"flat": alone}))
    assert "which was not run here, or where its gain cannot be told from nothing." in report(tmp_path)


def test_where_the_studies_ran_is_kept_when_a_suite_goes_on_elsewhere() -> None:
    before = record({}, repeated="all equal")
    after = replace(before, version="10.0")
    assert continued(after, before).earlier == ("Duelist 9.9, torch 2; a machine",)
    assert continued(after, before).repeated == "all equal" and continued(before, before).earlier == ()
    fewer = replace(after, seeds=(0, 1, 2, 3, 20))
    assert continued(fewer, before).repeated is None and left_out(fewer, before) == ["seeds 4 to 11"]
    assert seeds_in_words((0, 1, 2, 7, 1000)) == "0 to 2, 7, 1000"


@pytest.mark.parametrize(
    ("file", "damage", "named"),
    [
        ("suite.json", lambda text: text[:-20], r"must hold suite\.json"),
        ("suite.json", lambda text: "[]", r"must hold suite\.json"),
        ("suite.json", lambda text: text.replace('"seeds": [', '"seeds": [], "x": ['), r"seeds"),
        ("base/curves.csv", lambda text: text.replace("seed", "sead", 1), r"line 1: its head has no arm and seed"),
        ("base/curves.csv", lambda text: text.replace("\nrandom,0,", "\nrandom,zero,", 1), r"line 2: invalid literal"),
        ("base/curves.csv", lambda text: text[: len(text) // 2].rpartition(",")[0], r"another number of cells"),
        ("base/curves.csv", lambda text: text.replace("\n", ",9\n", 3), r"another number of cells|head"),
    ],
)
def test_damaged_files_are_named(folder: Path, file: str, damage: Callable[[str], str], named: str) -> None:
    (folder / file).write_text(damage((folder / file).read_text()))
    with pytest.raises(DataError, match=named):
        report(folder)


def test_a_folder_without_a_record_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"must hold suite\.json"):
        report(tmp_path)
