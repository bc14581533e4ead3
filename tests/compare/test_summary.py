"""What a comparison amounts to, on made-up curves whose answers are known; and what the table says of them."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from matplotlib.figure import Figure
from scipy import stats

from duelist.compare import picture
from duelist.compare.curves import Metric, Rows
from duelist.compare.picture import draw
from duelist.compare.sentences import sentences
from duelist.compare.summary import ArmSummary, MetricSummary, choose_baseline, summarise
from duelist.compare.tables import curves_csv, few_seeds, markdown, table_csv
from tiers import first

REWARD = Metric("mean_reward", True)


def rows_of(value: Callable[[int, float], float], seeds: int, labels: tuple[int, ...]) -> dict[int, Any]:
    return {
        seed: [
            {"round": t, "labels": n, "asked": n, "mean_reward": value(seed, n), "seconds": {"train": 1.0}}
            for t, n in enumerate(labels)
        ]
        for seed in range(seeds)
    }


@pytest.fixture
def rows() -> Rows:
    """Worlds that differ a lot; `fast` learns twice as fast in each, and `bad` unlearns."""
    world = np.random.default_rng(0).normal(0, 5, 10)
    grid = (0, 10, 20, 40)
    return {
        "bad": rows_of(lambda s, n: float(world[s]) - 0.1 * n, 10, grid),
        "random": rows_of(lambda s, n: float(world[s]) + (1 + s % 2) * n / 40, 10, grid),
        "fast": rows_of(lambda s, n: float(world[s]) + (1 + s % 2) * 2 * n / 40, 10, grid),
    }


def found(rows: Rows, metric: Metric = REWARD, baseline: str = "random") -> MetricSummary:
    summary = summarise(rows, metric, baseline)
    assert summary is not None
    return summary


def arm(summary: MetricSummary, name: str) -> ArmSummary:
    return next(a for a in summary.arms if a.arm == name)


def test_the_pairing_takes_the_worlds_out(rows: Rows) -> None:
    summary = found(rows)
    assert [a.arm for a in summary.arms] == ["bad", "random", "fast"]
    assert (summary.lowest, summary.highest, summary.target_gained) == (0, 40, True)
    fast = arm(summary, "fast")
    assert fast.final_paired is not None and fast.area_paired is not None and fast.difference is not None
    ends = [rows["fast"][s][-1]["mean_reward"] - rows["random"][s][-1]["mean_reward"] for s in range(10)]
    assert fast.final_paired.difference.mean == pytest.approx(np.mean(ends)) == pytest.approx(1.5)
    assert fast.final_paired.p_value == pytest.approx(stats.ttest_1samp(ends, 0).pvalue)
    assert (fast.final_paired.wins, fast.area_paired.wins) == (10, 10)
    assert fast.area_paired.difference.mean == pytest.approx(0.75)
    assert fast.difference.mean_E == pytest.approx([0, 0.375, 0.75, 1.5])
    # Its own interval holds the worlds; that of the difference does not.
    assert fast.final.half_width is not None and fast.final_paired.difference.half_width is not None
    assert fast.final.half_width > 5 * fast.final_paired.difference.half_width
    bad = arm(summary, "bad")
    assert bad.final_paired is not None and bad.final_paired.wins == 0
    random = arm(summary, "random")
    assert random.final_paired is None and random.difference is None


def test_labels_to_the_baseline_s_end(rows: Rows) -> None:
    summary = found(rows)
    fast, random, bad = (arm(summary, name).to_target for name in ("fast", "random", "bad"))
    assert fast is not None and random is not None and bad is not None
    assert fast.mean_curve == pytest.approx(20) and fast.median == pytest.approx(20)
    assert (fast.reached, fast.seeds) == (10, 10)
    assert random.mean_curve == 40 and random.median == 40
    assert (bad.mean_curve, bad.median, bad.reached) == (None, None, 0)


def test_a_metric_of_which_less_is_better(rows: Rows) -> None:
    less = found(rows, Metric("mean_reward", False))
    fast = arm(less, "fast")
    assert fast.final_paired is not None and fast.final_paired.wins == 0
    assert not less.target_gained  # what random gains is a loss
    bad = arm(found(rows, Metric("mean_reward", False), "bad"), "random")
    assert bad.final_paired is not None and bad.final_paired.wins == 0


def test_only_shared_seeds_are_paired(rows: Rows) -> None:
    some = {**rows, "fast": {s: rows["fast"][s] for s in (1, 4, 7)}, "bad": {}}
    summary = found(some)
    assert [a.arm for a in summary.arms] == ["random", "fast"]
    fast = arm(summary, "fast")
    assert fast.final.seeds == 3 and fast.to_target is not None and fast.to_target.seeds == 3
    assert fast.final_paired is not None and fast.final_paired.difference.seeds == 3
    assert arm(summary, "random").final.seeds == 10
    none = found({"random": {}, "fast": rows["fast"]})
    assert none.target is None and none.arms[0].final_paired is None and none.arms[0].to_target is None
    assert summarise({"random": {}, "fast": {}}, REWARD, "random") is None


def test_arms_of_other_budgets_are_compared_where_all_have_been(rows: Rows) -> None:
    short = rows_of(lambda s, n: n / 10, 10, (0, 5, 15))
    summary = found({"random": rows["random"], "short": short})
    assert summary.highest == 15
    assert arm(summary, "short").final.mean == pytest.approx(1.5)
    assert arm(summary, "short").curve.labels_E.tolist() == [0, 5, 15]
    assert arm(summary, "random").curve.labels_E.tolist() == [0, 10, 15]
    expected = np.mean([rows["random"][s][0]["mean_reward"] + (1 + s % 2) * 15 / 40 for s in range(10)])
    assert arm(summary, "random").final.mean == pytest.approx(expected)


def test_the_baseline() -> None:
    assert choose_baseline({"a": "activedpo", "random": "margin", "c": "random"}) == "random"
    assert choose_baseline({"a": "activedpo", "c": "random"}) == "c"
    assert choose_baseline({"a": "activedpo", "b": "margin"}) == "a"


def test_the_table_says_what_was_found(rows: Rows) -> None:
    text = markdown("a title", [found(rows)], {"bad": [3, 4]}, {"fast": ["policy"]})
    assert "# a title" in text and "mean_reward (higher is better)" in text
    assert "fast differs in `policy`" in text and "Not finished, hence not counted: bad, seed 3, 4." in text
    cells = [[c.strip() for c in line.split("|")[1:-1]] for line in text.splitlines() if line.startswith("| fast")]
    assert cells[0][1] == "10" and cells[0][3].startswith("+1.5000 ± ") and cells[0][-1] == "10 of 10"
    assert cells[1][-2:] == ["20", "20 (10 of 10 seeds)"]
    bad = [line for line in text.splitlines() if line.startswith("| bad")][1]
    assert "never" in bad and "never (0 of 10 seeds)" in bad
    assert "decide nothing" not in text
    lengths = {len(line) for line in text.splitlines() if line.startswith(("| fast", "| bad", "| random"))}
    assert len(lengths) == 2  # the columns of both tables line up


@pytest.mark.parametrize("seeds", first(3, [1, 7, 8, 2, 3]))
def test_few_seeds_have_no_interval_and_no_p(rows: Rows, seeds: int, tmp_path: Path) -> None:
    few = {name: {s: of_arm[s] for s in range(seeds)} for name, of_arm in rows.items()}
    few["random"] = rows["random"]  # the arms need not have the same number of seeds
    summary = found(few)
    fast = arm(summary, "fast")
    enough = seeds >= 8
    assert fast.final_paired is not None and fast.area_paired is not None and fast.difference is not None
    for mean in (fast.final, fast.area, fast.final_paired.difference, fast.area_paired.difference):
        assert (mean.half_width is not None) == enough and mean.seeds == seeds
    assert (fast.final_paired.p_value is not None) == (fast.area_paired.p_value is not None) == enough
    assert (fast.curve.half_width_E is not None) == (fast.difference.half_width_E is not None) == enough
    assert arm(summary, "random").final.half_width is not None
    words = f"{seeds} seed{'' if seeds == 1 else 's'}: too few to tell"
    lines = [line for line in markdown("t", [summary], {}, {}).splitlines() if line.startswith("| fast")]
    assert [("±" in line, words in line) for line in lines] == [(enough, not enough)] * 2
    csv_lines = [x for x in csv.DictReader(io.StringIO(table_csv([summary]))) if x["arm"] == "fast"]
    assert any(x["low"] or x["high"] or x["p_value"] for x in csv_lines) == enough
    draw([summary], "t", tmp_path / "p")
    assert (f"fast ({seeds} seeds), too few to tell" in (tmp_path / "p.svg").read_text()) == (not enough)


@pytest.mark.parametrize(
    ("name", "low", "high"),
    [
        ("pair_accuracy", 0.0, 1.0),
        ("win_rate", 0.0, 1.0),
        ("spearman_error", 0.0, 2.0),
        ("mean_reward", -np.inf, np.inf),
    ],
)
def test_intervals_stay_in_the_metric_s_range(name: str, low: float, high: float, tmp_path: Path) -> None:
    """One seed in ten is far off, so the t-interval of the others' near-perfect mean goes past what is possible."""
    top, bottom = (1.0, 0.0) if name == "mean_reward" else (high, low)
    rows: Rows = {
        who: {s: [{"round": t, "labels": 10 * t, "asked": 10 * t, name: value(s)} for t in (0, 1)] for s in range(10)}
        for who, value in (
            ("random", lambda s: top if s == 0 else bottom),
            ("fast", lambda s: bottom if s == 0 else top),
        )
    }
    summary = found(rows, Metric(name, True))
    fast = arm(summary, "fast")
    assert fast.final.half_width is not None and fast.final.mean + fast.final.half_width > top
    lines = list(csv.DictReader(io.StringIO(table_csv([summary]))))
    for line in (x for x in lines if x["low"]):
        least, largest = (low - high, high - low) if "minus" in line["statistic"] else (low, high)
        assert least <= float(line["low"]) < float(line["value"]) < float(line["high"]) <= largest
    assert any(float(x["high"]) == high for x in lines if x["high"]) == np.isfinite(high)

    curves, differences = Figure().subplots(1, 2)
    picture._curves(curves, summary)
    picture._differences(differences, summary)
    for axes, bands, least, largest in ((curves, 2, low, high), (differences, 1, low - high, high - low)):
        assert len(axes.collections) == bands
        for band in axes.collections:
            heights = band.get_paths()[0].vertices[:, 1]
            assert least <= heights.min() < heights.max() <= largest


@pytest.mark.parametrize("seeds", [1, 2, 7, 8])
def test_few_seeds_decide_nothing(rows: Rows, seeds: int) -> None:
    few = {name: {s: of_arm[s] for s in range(seeds)} for name, of_arm in rows.items()}
    warning = few_seeds([found(few)])
    assert (warning is None) == (seeds == 8)
    if warning is not None:
        assert "so few decide nothing" in warning and str("one" if seeds == 1 else seeds) in warning
        assert warning in markdown("t", [found(few)], {}, {})
    draw_nothing_odd = markdown("t", [], {"a": [0]}, {})
    assert "No study has finished" in draw_nothing_odd


def test_sentences_to_quote(rows: Rows) -> None:
    summary = found(rows)
    bad, fast = sentences([summary])
    assert fast.startswith("mean reward of fast minus that of random, after 40 labels: +1.500 (95 % interval +1.1")
    assert fast.endswith(
        "better on 10 of 10 seeds. Its mean curve reaches random's end with 20 labels instead of 40: 50 % fewer."
    )
    assert "better on 0 of 10 seeds." in bad and bad.endswith("seeds.") and "−5.500" in bad
    few = found({name: {s: of_seed[s] for s in range(3)} for name, of_seed in rows.items()})
    for sentence in sentences([few]):
        assert "p " not in sentence and "interval" not in sentence
        assert sentence.endswith("of 3 seeds; fewer than 8 seeds cannot tell the arms apart.")
    assert f"- {fast}" in markdown("title", [summary], {}, {})


def test_a_baseline_that_learns_nothing_is_no_target(rows: Rows) -> None:
    text = markdown("t", [found({"random": rows["bad"], "fast": rows["fast"]})], {}, {})
    assert "random did not get better on average, so there is no target" in text


def test_the_csv_files(rows: Rows) -> None:
    lines = list(csv.DictReader(io.StringIO(table_csv([found(rows)]))))
    value = {(x["arm"], x["statistic"]): x for x in lines}
    assert len(value) == len(lines)
    line = value["fast", "final_minus_baseline"]
    assert float(line["value"]) == pytest.approx(1.5) and float(line["low"]) < 1.5 < float(line["high"])
    assert 0 < float(line["p_value"]) < 1e-4 and line["seeds"] == "10"
    assert value["fast", "area_wins"]["value"] == "10" and value["bad", "labels_to_target_mean_curve"]["value"] == ""
    assert ("random", "final_minus_baseline") not in value
    curves = list(csv.DictReader(io.StringIO(curves_csv(rows))))
    assert len(curves) == 3 * 10 * 4
    assert curves[5] == {
        **{"arm": "bad", "seed": "1", "round": "1", "labels": "10", "asked": "10"},
        **{"responses": "", "comparisons": "", "annotation_seconds": ""},  # these rows are from an earlier version
        "mean_reward": repr(rows["bad"][1][1]["mean_reward"]),
    }


@pytest.mark.parametrize("seeds", first(1, [10, 1]))
def test_the_picture_is_drawn_the_same_twice(rows: Rows, seeds: int, tmp_path: Path) -> None:
    few = {name: {s: of_arm[s] for s in range(seeds)} for name, of_arm in rows.items()}
    summaries = [found(few), found(few, Metric("mean_reward", False))]
    for name in ("a", "b"):
        draw(summaries, "a $title$ with ü", tmp_path / name)
    svg = (tmp_path / "a.svg").read_text()
    assert "paired difference to random" in svg and f"fast ({seeds} seeds)" in svg and "95 % interval" in svg
    assert "a $title$ with ü" in svg
    assert (tmp_path / "a.png").read_bytes()[:4] == b"\x89PNG"
    for ending in ("svg", "png"):
        assert (tmp_path / f"a.{ending}").read_bytes() == (tmp_path / f"b.{ending}").read_bytes()


def test_a_summary_is_json(rows: Rows) -> None:
    from duelist.compare.results import _plain

    plain = json.loads(json.dumps(_plain(found(rows)), allow_nan=False))
    assert plain["metric"] == {"name": "mean_reward", "higher_is_better": True}
    assert plain["arms"][2]["difference"]["mean_E"] == pytest.approx([0, 0.375, 0.75, 1.5])
