"""`duelist suite` from the command line: what it refuses before anything runs, the plan, and a report of files."""

from __future__ import annotations

from pathlib import Path

import pytest
from cli_results import Command

EVIDENCE = Path(__file__).parents[2] / "docs" / "evidence" / "suite"


@pytest.mark.parametrize(
    ("words", "named"),
    [
        (["--worlds", "base"], "A suite needs a folder for its studies"),
        (["--worlds", "bas", "-o", "x"], "Did you mean 'base'"),
        (["--worlds", "base,base", "-o", "x"], "must name each world once"),
        (["--worlds", ",", "-o", "x"], "`--worlds` must be a list of names"),
        (["--quick", "--scale-seeds", "0:4", "-o", "x"], "`--quick` runs the rule under test and random alone"),
        (["--quick", "--subsets", "4", "-o", "x"], "`--quick` runs the rule under test and random alone"),
        (["--worlds", "base", "--seeds", "0:4", "--scale-seeds", "3:6", "-o", "x"], "must be among the seeds 0:4"),
        (["--worlds", "base", "--seeds", "0:4", "--scale-seeds", "a", "-o", "x"], "`--scale-seeds` is written"),
        (["--worlds", "base", "--arm", "floor:acquisition=entropy", "-o", "x"], "`--arm` must have a name of its own"),
        (["--worlds", "base", "--data", "base=here", "-o", "x"], "`--data` is written WORLD=FOLDER"),
        (["tune", "base,equal", "-o", "x"], "A world must be one of base"),
        (["report", "x"], "must hold suite.json"),
        (["repeat", "x", "-o", "y"], "must hold suite.json"),
    ],
)
def test_what_cannot_run_is_refused_and_writes_nothing(words: list[str], named: str, duelist: Command) -> None:
    before = set(Path().iterdir())
    done = duelist("suite", *words)
    assert done.code != 0 and named in " ".join(done.error.split()), done
    assert set(Path().iterdir()) == before


def test_the_plan_counts_studies_and_labels(duelist: Command) -> None:
    words = ["--worlds", "base", "--seeds", "0:10", "--scale-seeds", "0:2", "--subsets", "3", "--dry-run"]
    done = duelist("suite", *words)
    # 8 seeds of two arms, 2 of five (the best subset is chosen later), and 2 × 3 subsets; each asks for 128 labels.
    assert done.code == 0 and "26, and 6 of random subsets" in done.out and f"{(26 + 6) * 128:,}" in done.out


def test_kept_results_are_reported_again(duelist: Command, tmp_path: Path) -> None:
    assert duelist("suite", "report", str(EVIDENCE), "-o", str(tmp_path / "page.md")).code == 0
    assert (tmp_path / "page.md").read_text(encoding="utf-8") == (EVIDENCE / "report.md").read_text(encoding="utf-8")
