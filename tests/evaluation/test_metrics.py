"""The table of metrics: one entry is all that a metric needs, and docs/metrics.md has every entry."""

from __future__ import annotations

import inspect
import json
from pathlib import Path
from typing import Any, get_args

import numpy as np
import pytest
from rich.console import Console

from duelist import Study, parse_recipe
from duelist.cli.console import round_table, status_rows
from duelist.compare.curves import Metric, described, metrics_to_show
from duelist.compare.picture import draw
from duelist.compare.summary import summarise
from duelist.compare.tables import markdown, table_csv
from duelist.evaluation import metrics
from duelist.evaluation.metrics import INPUTS, METRICS, SHARE, MetricSpec, Subject, measure
from duelist.report import plots
from duelist.report.page import write_report
from duelist.report.status import status
from duelist.store import codecs

DOCS = Path(__file__).parents[2] / "docs" / "metrics.md"
MARK = "do not edit what follows. -->\n"
SECTIONS = {
    "policy": "A policy on held-out prompts",
    "reward model": "A reward model on held-out prompts",
    "selection": "The pairs selected in a round",
    "round": "The round",
}


def reference() -> str:
    """Every metric, in Markdown."""
    parts = []
    for of, title in SECTIONS.items():
        lines = [f"## {title}", "", "| key | heading | better | range | meaning | shown |", "|---|---|---|---|---|---|"]
        for m in (m for m in metrics.METRICS if m.of == of):
            low, high = (f"{x:g}".replace("inf", "∞").replace("-", "−") for x in m.range)
            bounds = "" if m.range == (-np.inf, np.inf) else f"{low} to {high}"
            cells = [f"`{m.name}`", m.heading, m.better or "", bounds, m.meaning, ", ".join(m.shown)]
            lines.append(f"| {' | '.join(c.replace('|', chr(92) + '|') for c in cells)} |")
        parts.append("\n".join(lines))
    return "\n" + "\n\n".join(parts) + "\n"


def test_the_documentation_has_every_metric() -> None:
    _, _, written = DOCS.read_text(encoding="utf-8").partition(MARK)
    assert written == reference(), "Write it anew with `python tests/evaluation/test_metrics.py`."


def test_every_entry_can_be_computed_and_says_what_it_means() -> None:
    assert len({m.name for m in METRICS}) == len(METRICS) and set(SECTIONS) == set(get_args(Subject))
    earlier: dict[Any, set[str]] = {of: set(INPUTS.get(of, ())) for of in SECTIONS}
    for m in METRICS:
        assert m.meaning and m.title and m.digits > 0 and m.range[0] < m.range[1]
        assert (m.compute is None) == (m.of == "round")
        assert m.compute is None or set(inspect.signature(m.compute).parameters) <= earlier[m.of]
        earlier[m.of].add(m.name)


def test_j_counts_each_prompt_by_its_weight() -> None:
    known = {"rewards_R": np.array([1.0, 4.0]), "log_ratio_R": np.array([0.2, 0.6]), "weight_R": np.array([3.0, 1.0])}
    found = measure("policy", known | {"beta": 0.5, "label_temperature": 2.0})
    assert found["kl_weighted"] == pytest.approx(0.3) and found["kl"] == pytest.approx(0.4)
    assert found["j_weighted"] == pytest.approx(1.75 / 2 - 0.5 * 0.3) and found["j"] == pytest.approx(2.5 / 2 - 0.2)


def test_what_was_not_measured_is_null_or_left_out() -> None:
    assert measure("policy", {}) == {"mean_reward": None, "win_rate": None, "kl": None, "j": None}
    assert measure("reward model", {}) == {"pair_accuracy": None}
    assert measure("selection", {"margin_B": np.array([]), "decisions": []}) == {
        "selected_mean_margin": None,
        "selected_ranking_accuracy": None,
    }
    with pytest.raises(KeyError, match="reward_R"):
        wrong = MetricSpec("x", "policy", "x", lambda reward_R: 0.0)
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(metrics, "METRICS", [wrong])
            measure("policy", {"rewards_R": np.zeros(2)})


@pytest.mark.full
def test_a_new_metric_is_one_entry(
    tiny_recipe: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Computed after each round, and shown on the terminal, by `status`, in the report, comparisons and documents."""
    new = MetricSpec(
        "median_reward",
        "policy",
        "median reward",
        lambda rewards_R: np.median(rewards_R),
        meaning="Half of the responses have more.",
        unit="points",
        better="lower",
        range=(0.0, 99.0),
        digits=2,
        level=0.125,
    )
    monkeypatch.setattr(metrics, "METRICS", [*METRICS, new])
    for name, seed in (("study", 0), ("study/compare/other", 1)):
        with Study.create(tmp_path / name, parse_recipe(tiny_recipe | {"rounds": 1, "seed": seed})) as study:
            study.run()
            lines = study.store.metrics()
            samples = [study.folder.read(t, "evaluate", codecs.EVALUATION).samples for t in (0, 1)]
            assert [x["median_reward"] for x in lines] == [np.median([s["reward"] for s in of]) for of in samples]

    value = f"{lines[-1]['median_reward']:.2f}"
    Console(width=300).print(round_table(lines, "rounds"))
    assert "median reward (points)" in capsys.readouterr().out
    state = status(tmp_path / "study/compare/other")
    assert status_rows(state)["median reward (points)"] == value
    page = write_report(tmp_path / "study").read_text("utf-8")
    assert page.count('<th scope="col">median reward (points)</th>') == 3  # the arms, and the rounds of each
    assert "<b>Median reward (points)</b>Half of the responses have more." in page
    assert f"<td>{lines[0]['median_reward']:.1f}</td>" in page

    rows = {arm: dict.fromkeys(range(10), lines) for arm in ("random", "other")}
    shown = metrics_to_show([], rows)
    assert Metric("median_reward", higher_is_better=False) in shown
    summary = summarise(rows, Metric("median_reward", False), "random")
    assert summary is not None
    assert "## median_reward in points (lower is better)" in markdown("t", [summary], {}, {})
    assert f"| {value} ± 0.00 |" in markdown("t", [summary], {}, {})
    assert table_csv([summary]).count("median_reward,") > 2
    draw([summary], "t", tmp_path / "picture")
    assert "median reward (points)" in (tmp_path / "picture.svg").read_text()
    assert (
        "| `median_reward` | median reward (points) | lower | 0 to 99 | Half of the responses have more. |"
        in reference()
    )


def test_a_number_that_no_table_names_is_compared_by_the_words_of_its_name() -> None:
    rows = {"a": {0: [{"round": 0, "labels": 0, "asked": 0, "probe_loss": 0.5, "my_accuracy": 0.25}]}}
    assert metrics_to_show([], rows) == [Metric("probe_loss", False), Metric("my_accuracy", True)]
    assert described("my_accuracy").range == SHARE and described("probe_loss").heading == "probe_loss"


def test_every_number_of_a_study_is_in_the_table(tmp_path: Path) -> None:
    from small_study import finished  # found by pytest alone; this file is run as a script, too

    finished(tmp_path / "study")
    lines = [json.loads(x) for x in (tmp_path / "study/metrics.jsonl").read_text("utf-8").splitlines()]
    assert {k for line in lines for k in line} <= {m.name for m in METRICS}


def test_a_comparison_draws_with_the_colours_of_all_pictures(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(plots, "COLOURS", ("#123456",))
    curve = [{"round": t, "labels": 4 * t, "mean_reward": float(t)} for t in (0, 1)]
    summary = summarise({"random": {0: curve}}, Metric("mean_reward", True), "random")
    assert summary is not None
    draw([summary], "t", tmp_path / "picture")
    assert "#123456" in (tmp_path / "picture.svg").read_text()


if __name__ == "__main__":
    head, mark, _ = DOCS.read_text(encoding="utf-8").partition(MARK)
    DOCS.write_text(head + mark + reference(), encoding="utf-8")
