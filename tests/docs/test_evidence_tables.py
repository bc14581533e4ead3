"""docs/evidence.md shows what the result files say."""

from __future__ import annotations

import csv
import re
from pathlib import Path
from statistics import mean, stdev
from typing import Any

import pytest

from benchmark_scripts import benchmark

ROOT = Path(__file__).resolve().parents[2]
PAGE = (ROOT / "docs" / "evidence.md").read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def evidence() -> Any:
    return benchmark("evidence")


def test_the_tables_are_those_of_the_files(evidence: Any) -> None:
    assert evidence.built(PAGE) == PAGE, "run `python benchmarks/evidence.py`"


def test_a_table_that_was_changed_by_hand_is_written_again_and_nothing_else(evidence: Any) -> None:
    two = PAGE[PAGE.index("<!-- table:") : PAGE.index("- Counted per kind")] + "| by | hand |\n"
    row = next(line for line in two.splitlines() if line.startswith("| aplp |"))
    assert evidence.built(two.replace(row, "| aplp | 1.0 |", 1)) == two


@pytest.mark.parametrize(
    ("right", "wrong", "named"),
    [
        ("<!-- table: {", "<!-- tabel: {", None),  # no table's comment at all: the row below is left
        ("<!-- table: {", "<!--table: {", "not line 1"),
        ("<!-- table: {", "  <!-- Table: {", "not line 1"),
        ("'} -->", "'} --!", "not line 1"),
        ("folder: quickstart", "folder: nowhere", "A table cannot be made"),
        ("of: comparison", "of: comparisons", "KeyError: 'comparisons'"),
    ],
)
def test_a_broken_comment_is_named(evidence: Any, right: str, wrong: str, named: str | None) -> None:
    two = PAGE[PAGE.index("<!-- table:") : PAGE.index("- Counted per kind")]
    broken = two.replace(right, wrong, 1)
    assert broken != two
    if named is None:
        assert evidence.built(broken) == broken
        return
    with pytest.raises(SystemExit, match=named):
        evidence.built(broken)


def test_a_number_is_the_mean_of_the_paired_differences() -> None:
    ends: dict[str, dict[str, float]] = {}
    with (ROOT / "docs/evidence/quickstart/curves.csv").open(encoding="utf-8") as file:
        for row in csv.DictReader(file):  # rounds are in order: the last one stays
            ends.setdefault(row["arm"], {})[row["seed"]] = float(row["mean_reward"])
    difference = [ends["activedpo"][seed] - ends["random"][seed] for seed in ends["random"]]
    half = 2.0930240544 * stdev(difference) / len(difference) ** 0.5  # Student's t, 19 degrees of freedom
    shown = f"| activedpo | {mean(ends['activedpo'].values()):.4f} | {mean(difference):+.4f} ± {half:.4f} |"
    assert shown in PAGE


def test_every_file_of_results_has_a_table() -> None:
    kept = {
        path.parent.relative_to(ROOT / "docs/evidence").parts[0] for path in ROOT.glob("docs/evidence/**/curves.csv")
    }
    spoken_of = set(re.findall(r"folder: ([\w.-]+)", PAGE)) | {"tuning", "reproduction"}  # docs/reproduction.md
    assert kept <= spoken_of
