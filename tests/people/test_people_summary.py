"""The report on a study's annotators, and its rows."""

from __future__ import annotations

import json
from collections.abc import Sequence

import numpy as np
import pytest
from voters import vote

from duelist.people.agreement import krippendorff_alpha, pairwise_agreement
from duelist.people.habits import gold_accuracy, position, self_consistency, speed
from duelist.people.reliability import dawid_skene
from duelist.people.summary import POSITION_BIAS, PeopleReport, people_report
from duelist.types import Label

GOLD = {"q0": "a", "q1": "b"}


@pytest.fixture(scope="module")
def study() -> list[Label]:
    """Two people who mostly agree, one who always takes the left, and one who skips his only question."""
    rng, votes = np.random.default_rng(0), []
    for i in range(40):
        truth = "ab"[int(rng.integers(2))]
        for name in ("ann", "bob", "left"):
            shown = ("ab", "ba")[int(rng.integers(2))]
            outcome = shown[0] if name == "left" else truth if rng.random() < 0.9 else "tie"
            votes.append(vote(f"q{i}", name, outcome, shown, float(rng.uniform(5, 50))))
    return [*votes, vote("q2", "ann", "a", "ab", 9.0), vote("q5", "zoe", "skip")]


@pytest.fixture(scope="module")
def report(study: Sequence[Label]) -> PeopleReport:
    return people_report(study, GOLD, ["q2", "q3", "q4", "q5"], seed=3, resamples=200)


def test_the_report_is_made_of_the_statistics(study: list[Label], report: PeopleReport) -> None:
    own = [v for v in study if v.pair_id not in GOLD]
    fit = dawid_skene(own)
    assert fit is not None and (report.votes, report.questions) == (122, 40)
    assert report.every_question.pairwise == pairwise_agreement(own)
    assert report.every_question.alpha == krippendorff_alpha(own, seed=3, resamples=200)
    assert report.random_slice is not None
    assert report.random_slice.pairwise == pairwise_agreement(own, ["q2", "q3", "q4", "q5"])
    assert [one.annotator for one in report.annotators] == ["ann", "bob", "left", "zoe"]
    for one in report.annotators[:3]:
        name = one.annotator
        assert one.reliability == fit.skill[name] and one.shared == 38
        assert one.position == position(study)[name] and one.seconds == speed(study)[name]
        assert one.consistency == self_consistency(study).get(name) and one.gold == gold_accuracy(study, GOLD)[name]


def test_who_has_a_position_bias_is_said(report: PeopleReport) -> None:
    assert {one.annotator for one in report.annotators if POSITION_BIAS in one.remarks} == {"left"}
    remarks = {row["annotator"]: row["remark"] for row in report.as_rows() if row["remark"]}
    assert remarks == {"left": "position bias"}


def test_what_cannot_be_judged_is_none(report: PeopleReport) -> None:
    zoe = report.annotators[3]
    assert (zoe.votes, zoe.skips, zoe.shared) == (1, 1, 0)
    assert zoe.reliability is zoe.position is zoe.seconds is zoe.consistency is zoe.gold is None
    ann = next(r for r in report.as_rows() if r["annotator"] == "ann" and r["statistic"] == "self-consistency")
    assert ann["n"] == 1 and ann["value"] is not None


def test_rows_are_a_table_that_json_can_hold(study: list[Label], report: PeopleReport) -> None:
    rows = report.as_rows()
    assert len(rows) == 4 + 7 * 4
    assert all(list(r) == ["of", "annotator", "statistic", "value", "low", "high", "n", "remark"] for r in rows)
    assert json.loads(json.dumps(rows, allow_nan=False)) == rows
    few = people_report(study[:3], reliability=False, resamples=100).as_rows()
    seconds = next(row for row in few if row["statistic"] == "median seconds")
    assert seconds["value"] is not None and seconds["low"] is None and seconds["high"] is None


def test_a_study_without_votes_has_an_empty_report() -> None:
    report = people_report([], resamples=100)
    assert (report.votes, report.annotators, report.random_slice) == (0, (), None)
    assert [row["value"] for row in report.as_rows()] == [None, None]


def test_without_reliability_crowd_kit_is_not_needed(study: list[Label], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("duelist.people.summary.dawid_skene", None)
    report = people_report(study, reliability=False, resamples=100)
    assert [(one.reliability, one.shared) for one in report.annotators] == [(None, 40)] * 3 + [(None, 0)]
