"""benchmarks/reproduction.py: verdicts follow from intervals, the claims fit what runs, and the page from its files."""

from __future__ import annotations

import csv
import shlex
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from recipe_files import RECIPES, option
from scipy import stats

from benchmark_scripts import benchmark
from duelist import load_recipe
from duelist.compare.arms import parse_arm, parse_seeds, plan_studies
from duelist.compare.curves import described
from duelist.compare.statistics import Mean
from duelist.preflight.examination import examine
from duelist.store.artifacts import write_json

ROOT = RECIPES.parent
reproduction = benchmark("reproduction")
from reproduction_claims import judge, overall, read_claims, verdict  # noqa: E402

CLAIMS = read_claims()


def rows_of(values: dict[str, np.ndarray]) -> dict[str, dict[int, list[dict[str, Any]]]]:
    """Rows of curves.csv from `[seeds, evaluations]` of each arm, 10 labels a round."""
    return {
        arm: {
            s: [{"labels": 10.0 * e, "mean_reward": x} for e, x in enumerate(line)] for s, line in enumerate(table_SE)
        }
        for arm, table_SE in values.items()
    }


@pytest.mark.parametrize(
    ("expects", "low", "high", "relevant", "said"),
    [
        ("better", 0.01, 0.05, 1.0, "reproduced"),  # whatever is of note: the claim is a direction
        ("better", 0.01, 0.05, None, "reproduced"),
        ("better", -0.05, -0.01, None, "not reproduced"),
        ("better", -0.05, 0.05, 0.1, "not reproduced"),
        ("better", -0.05, 0.15, 0.1, "cannot be told here"),
        ("better", -0.05, 0.05, None, "cannot be told here"),
        ("equal", -0.05, 0.05, 0.1, "reproduced"),
        ("equal", 0.01, 0.05, 0.1, "reproduced"),
        ("equal", -0.05, 0.15, 0.1, "cannot be told here"),
        ("equal", 0.11, 0.15, 0.1, "not reproduced"),
        ("equal", -0.15, -0.11, 0.1, "not reproduced"),
        ("equal", 0.01, 0.05, None, "cannot be told here"),
    ],
)
def test_a_verdict_is_where_the_interval_lies(
    expects: str, low: float, high: float, relevant: float | None, said: str
) -> None:
    difference = Mean((low + high) / 2, (high - low) / 2, 8)
    assert verdict(expects, difference, relevant)[0] == said
    few = Mean(difference.mean, difference.half_width, 7)
    assert verdict(expects, few, relevant)[0] == "cannot be told here"


@pytest.mark.parametrize(("high", "contrasts", "said"), [(-0.01, 1, "not"), (-0.01, 4, "cannot"), (-0.06, 4, "not")])
def test_several_contrasts_bring_a_claim_down_with_wider_intervals(high: float, contrasts: int, said: str) -> None:
    """With 8 seeds, t at 1 − 0.05/8 is 1.42 times t at 0.975: the ends move out by a fifth of the interval."""
    difference = Mean(high - 0.1, 0.1, 8)
    wider = stats.t.ppf(1 - 0.05 / (2 * contrasts), 7) / stats.t.ppf(0.975, 7) * 0.1
    assert (difference.mean + wider < 0) == (said == "not")
    assert verdict("better", difference, None, contrasts)[0].startswith(said)
    assert verdict("better", Mean(0.11, 0.1, 8), None, contrasts)[0] == "reproduced"  # all must be: no correction


def test_a_claim_is_as_good_as_its_worst_contrast() -> None:
    assert overall(["reproduced", "reproduced"]) == "reproduced"
    assert overall(["reproduced", "cannot be told here"]) == "cannot be told here"
    assert overall(["cannot be told here", "not reproduced", "reproduced"]) == "not reproduced"
    assert overall(["reproduced", "not run yet", "not reproduced"]) == "not run yet"


@pytest.mark.parametrize("statistic", ["end", "area"])
@pytest.mark.parametrize("metric", ["mean_reward", "mean_reward:lower"])
def test_the_interval_is_the_paired_t_interval_of_the_statistic(statistic: str, metric: str) -> None:
    rng = np.random.default_rng(0)
    start_S1 = rng.normal(size=(9, 1))
    arms = {name: np.hstack([start_S1, start_S1 + rng.normal(1, 1, size=(9, 3))]) for name in ("own", "other")}
    found = judge(rows_of(arms), metric, statistic, ("own", "other"), "better")
    weights = np.array([0, 0, 0, 1.0]) if statistic == "end" else np.array([0.5, 1, 1, 0.5]) / 3  # trapezoids
    own_S, other_S = (arms[name] @ weights for name in ("own", "other"))
    sign = -1 if metric.endswith("lower") else 1
    low, high = stats.ttest_rel(sign * own_S, sign * other_S).confidence_interval(0.95)
    assert found.difference is not None and found.difference.half_width is not None and found.difference.seeds == 9
    assert found.difference.mean == pytest.approx((low + high) / 2)
    assert found.difference.half_width == pytest.approx((high - low) / 2)
    assert found.wins == int((sign * own_S > sign * other_S).sum())
    way_S = other_S - start_S1[:, 0]
    assert stats.ttest_1samp(way_S, 0).pvalue < 0.05
    assert found.relevant == pytest.approx(0.1 * abs(way_S.mean()))


def test_an_arm_that_was_not_run_has_no_verdict_and_one_that_does_not_move_no_yardstick() -> None:
    rng = np.random.default_rng(1)
    table_SE = rng.normal(size=(8, 2))
    assert judge(rows_of({"own": table_SE}), "mean_reward", "end", ("own", "other"), "better").verdict == "not run yet"
    still = judge(rows_of({"own": table_SE, "other": table_SE}), "mean_reward", "end", ("own", "other"), "equal")
    assert still.relevant is None and still.verdict == "cannot be told here"


def test_every_claim_fits_what_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DUELIST_CACHE", str(tmp_path / "cache"))  # nothing is prepared
    arms: dict[str, set[str]] = {}
    for name, comparison in CLAIMS.comparisons.items():
        studies = comparison.studies(tmp_path / name, [0])
        arms[name] = {study.arm for study in studies}
        for study in studies:
            examine(study.recipe, offline_ok=True, libraries=False)
        words = shlex.split(comparison.command(name, "0:8"))
        given = [parse_arm(arm) for arm in option(words, "--arm")]
        again = plan_studies(tmp_path / name, words[2], option(words, "--set"), given, parse_seeds("0"))
        assert again == studies  # the command on the page runs the same
    for claim in CLAIMS.claims:
        assert claim.paper in CLAIMS.papers
        assert {arm for pair in claim.contrasts for arm in pair} <= arms[claim.comparison], claim.says
        assert all(described(metric).of is not None for metric in claim.metrics)
    assert {claim.comparison for claim in CLAIMS.claims} == set(arms)


def test_what_is_not_run_could_be(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DUELIST_CACHE", str(tmp_path / "cache"))
    for figure in CLAIMS.not_run:
        assert figure.paper in CLAIMS.papers
        words = shlex.split(figure.command)
        if words[:2] == ["duelist", "run"]:
            load_recipe(words[2], option(words, "--set"))
        elif words[:2] != ["duelist", "gallery"]:
            assert words[:2] == ["duelist", "compare"]
            arms = [parse_arm(arm) for arm in option(words, "--arm")]
            for study in plan_studies(tmp_path, words[2], option(words, "--set"), arms, [0]):
                examine(study.recipe, offline_ok=True, libraries=False)


def test_every_allocation_of_the_margin_paper_is_equally_selective() -> None:
    from duelist.recipe.round_plan import budgets

    for study in CLAIMS.comparisons["margin-iterations"].studies(Path("compared"), [0]):
        per_round = study.recipe.prompts.per_round
        if study.arm != "single":
            assert isinstance(per_round, tuple) and [2 * b for b in budgets(study.recipe)] == list(per_round)


def test_the_page_is_made_from_files_that_can_be_kept(tmp_path: Path) -> None:
    folder, kept = tmp_path / "ran", tmp_path / "kept"
    planted_SE = np.random.default_rng(2).normal(size=(8, 4))
    arms = {name: planted_SE + (name == "smallest") - (name == "largest") for name in ("smallest", "random", "largest")}
    write(folder / "margin-instance" / "curves.csv", rows_of(arms))
    write_json(folder / "reproduction.json", {
        "command": "run", "seeds": "0:8", "version": "0", "machine": "a machine", "libraries": {"torch": "1"},
    })  # fmt: skip
    page = reproduction.report(folder)
    reproduction.keep(folder, kept)
    assert reproduction.report(kept) == page
    verdicts = {line.split(" | ")[1]: line for line in page.splitlines() if line.startswith("| Margin selection |")}
    assert "**not run yet**" in verdicts["Figure 2"]  # the metric that decides was not measured
    assert "| smallest − random | `mean_reward` | 8 | +1.0000 ± 0.0000 | 8 of 8 |" in page
    assert "| random − largest | `mean_reward` | 8 | +1.0000 ± 0.0000 | 8 of 8 |" in page
    assert page.count("| reproduced | the interval is above 0 |") == 2
    assert "Nothing was run yet" in reproduction.report(tmp_path / "nowhere")


def write(file: Path, rows: dict[str, dict[int, list[dict[str, Any]]]]) -> None:
    file.parent.mkdir(parents=True)
    with file.open("w", encoding="utf-8", newline="") as target:
        lines = csv.DictWriter(target, ["arm", "seed", "labels", "mean_reward"])
        lines.writeheader()
        lines.writerows(
            {"arm": arm, "seed": seed, **row} for arm, own in rows.items() for seed, of in own.items() for row in of
        )


def test_the_committed_page_is_that_of_the_committed_files() -> None:
    """After a change of the claims or of the files: `python benchmarks/reproduction.py report` (its docstring)."""
    page = (ROOT / "docs" / "reproduction.md").read_text(encoding="utf-8")
    assert page == reproduction.report(ROOT / "docs" / "evidence" / "reproduction")
