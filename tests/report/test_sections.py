"""What the sections of the report say: the first screen, who answered, and a section of another part."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import small_study
from duelist.report.answering import answering
from duelist.report.charts import metric_charts
from duelist.report.first_screen import first_screen
from duelist.report.formats import duration
from duelist.report.page import write_report
from duelist.report.record import Arm, read_arm
from duelist.report.sections import Section, Table
from duelist.report.why import why
from duelist.store.row_codecs import Stage
from duelist.types import Label


def arm(folder: Path, labels: Sequence[Label] = (), metrics: Sequence[dict[str, Any]] = (), **changes: Any) -> Arm:
    """An arm without a folder behind it."""
    asked = [x for t in (1, 2) for x in small_study.pairs_of(t)]
    recipe = {**small_study.RECIPE, **changes}
    prompts = {small_study.PROMPT.id: small_study.PROMPT}
    return Arm("random", folder, recipe, metrics, (), asked, prompts, list(labels))


def select(t: int, **info: Any) -> Stage:
    return Stage(t, "select", "", "", 1.0, info)


def row(t: int, reward: float | None, **others: Any) -> dict[str, Any]:
    return {"round": t, "labels": 3 * t, "mean_reward": reward, "annotation_seconds": 30.0 * t, **others}


def vote(question: int, who: str, outcome: Any = "a", **others: Any) -> Label:
    return Label(small_study.pairs_of(1)[question].question.id, who, outcome, **others)


def tiles(arm: Arm) -> dict[str, tuple[str, str]]:
    return {t.name: (t.value, t.note) for t in first_screen([arm]).tiles}


@pytest.mark.parametrize(
    ("rewards", "said"),
    [
        ([0.1, 0.3], "Mean reward rose from 0.100 to 0.300 with 3 labels."),
        ([0.3, 0.1], "Mean reward fell from 0.300 to 0.100 with 3 labels."),
        ([0.3, 0.3001], "Mean reward stayed at 0.300 with 3 labels."),
        ([0.3], "Mean reward is 0.300 with 0 labels; no later round is measured yet."),
        ([None], "1 label collected; what came of it is not measured."),
        ([], "1 label collected; what came of it is not measured."),
    ],
)
def test_the_headline(tmp_path: Path, rewards: list[float | None], said: str) -> None:
    study = arm(tmp_path, [vote(0, "Ada")], [row(t, reward) for t, reward in enumerate(rewards)])
    found = first_screen([study])
    assert found.headline == said
    assert (found.chart is not None) == (len(rewards) > 0 and rewards[0] is not None)


def test_what_it_cost(tmp_path: Path) -> None:
    labels = [vote(0, "Ada", seconds=100.0), vote(0, "Bo", seconds=20.0), vote(1, "Bo")]
    found = tiles(arm(tmp_path, labels, [row(0, 0.1), row(1, 0.2)], annotator={"name": "people"}))
    assert found["Labels"] == ("3", "on 2 pairs of 6 planned") and found["Responses read"][0] == "6"
    assert found["People's time"] == ("2 min", "recorded, of 2 of 3 labels")
    found = tiles(arm(tmp_path, [vote(0, "rule")], [row(1, 0.2)], annotator={"name": "reward_function"}))
    assert found["People's time"] == ("30 s", "expected from the tokens to read; no person answered")
    assert [duration(x) for x in (59.6, 600, 7200)] == ["60 s", "10 min", "2.0 h"]


def test_the_worth_of_the_next_label(tmp_path: Path) -> None:
    study = arm(tmp_path, [vote(0, "Ada")], [row(0, 0.1), row(1, 0.3)])
    assert tiles(study)["Next label"] == ("–", "random tells no gain. The last 3 labels changed mean reward by +0.200.")
    bounded = replace(study, stages=[select(2, gain_nats=0.5), select(1, gain_nats=2.0)])
    value, note = tiles(bounded)["Next label"]
    assert value == "0.5 nats" and note.startswith("at most, by the rule; 2 in round 1.")


def test_why_names_the_rule_the_chance_and_the_certificate(tmp_path: Path) -> None:
    study = arm(tmp_path, acquisition={"name": "activedpo"}, initial_random=2)
    study = replace(study, stages=[select(1, within_percent_of_optimum=3.25)])
    (said,) = why(study)
    assert said.startswith("The rule is activedpo. ActiveDPO: select the comparisons")
    assert "The first 2 pairs came at random" in said and "within 3.25 % of the best batch" in said
    assert why(replace(study, asked=[])) == []


def test_metrics_with_the_same_numbers_are_drawn_once(tmp_path: Path) -> None:
    rows = [row(t, 0.1 * t, win_rate=0.1 * t, j=2.0 * t, mean_reward_weighted=2.0 * t) for t in range(3)]
    study = arm(tmp_path, metrics=rows)
    assert [p.title for p in metric_charts([study], "mean_reward")] == ["J (label log-odds)"]


def test_who_answered(tmp_path: Path) -> None:
    first = [vote(i, "left", "a", shown="ab", seconds=2.0, id=f"{i}-{n}") for i in range(3) for n in range(10)]
    others = [vote(0, "Ada", "a", shown="ba", seconds=4.0), vote(1, "Ada", "b"), vote(2, "Ada", "skip")]
    found = answering(arm(tmp_path, [*first, *others]))
    rows = {r.name: r for r in found.annotators}
    assert rows["left"].biased and rows["left"].first.startswith("100 % of 30 (95 % interval 0.88 – 1.00)")
    assert (rows["Ada"].answers, rows["Ada"].skips, rows["Ada"].biased, rows["Ada"].seconds) == (3, 1, False, "4 s")
    assert found.agreement[0] == "3 questions of 3 were answered by several annotators."
    assert "agree on 50 % of 2 pairs of votes" in found.agreement[1]
    alone = answering(arm(tmp_path, others))
    assert alone.agreement == ["No question was answered by two annotators, so agreement is not known."]
    assert answering(arm(tmp_path)).agreement == []


def test_what_a_cascades_judge_was_trusted_with(tmp_path: Path) -> None:
    trust = {"slices": ["all"], "audits": 20, "errors": 1, "skipped": 0, "needed": 14, "bound": 0.18, "threshold": 0.9}
    info = {"taken": 7, "pairs": 10, "max_error": 0.2, "trust": [trust]}
    small_study.finished(tmp_path)
    stages = [Stage(t, "prelabel", "", "", 1.0, info) for t in (1, 2)]
    found = answering(replace(read_arm(tmp_path), stages=stages))
    assert [t for t, _ in found.trust] == [2, 1]
    assert found.trust[0][1][0] == "takes 7 of 10 pairs; people label 3." and "at most 0.180" in found.trust[0][1][1]


def test_a_section_of_another_part_is_escaped_and_linked(tmp_path: Path) -> None:
    small_study.finished(tmp_path)
    section = Section("audit", "Audit & <b>", ["One <i>."], Table("Costs", ["what", "labels"], [["all", "<3>"]]))
    page = write_report(tmp_path, sections=[section]).read_text("utf-8")
    assert '<a href="#audit">Audit &amp; &lt;b&gt;</a>' in page and "<p>One &lt;i&gt;.</p>" in page
    assert '<th scope="row">all</th><td>&lt;3&gt;</td>' in page and "<caption>Costs</caption>" in page


def test_margins_are_numbers_in_the_drawing(tmp_path: Path) -> None:
    small_study.finished(tmp_path)
    page = write_report(tmp_path).read_text("utf-8")
    assert np.isclose(0.1, small_study.pairs_of(1)[0].margin)
    assert "Margins by round: random ends with a median of 0.100." in page
