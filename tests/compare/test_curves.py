"""Which numbers of metrics.jsonl are compared, and the learning curves in them."""

from __future__ import annotations

from typing import Any

import pytest

from duelist.compare.curves import Metric, curve, measured, metrics_to_show, parse_metric
from duelist.errors import RecipeError


def row(labels: int, **metrics: Any) -> dict[str, Any]:
    return {"round": labels // 4, "labels": labels, "asked": labels, "seconds": {"train": 1.0}, **metrics}


def test_what_is_measured_is_a_number_in_some_row() -> None:
    rows = {"a": {0: [row(0, kl=0.0, j=None, note="x", flag=True), row(4, kl=1.0, j=2)]}, "b": {}}
    assert measured(rows) == ["kl", "j"]


def test_the_usual_metrics_without_repetitions() -> None:
    both = {"mean_reward": 0.5, "mean_reward_over_groups": 0.5}
    rows = {"a": {0: [row(0, **both, mean_reward_weighted=0.25, kl=0.0), row(4, **both, mean_reward_weighted=0.5)]}}
    assert [m.name for m in metrics_to_show([], rows)] == ["mean_reward", "mean_reward_weighted"]
    rows["a"][0][1]["mean_reward_over_groups"] = 0.625
    assert [m.name for m in metrics_to_show([], rows)] == [
        "mean_reward",
        "mean_reward_over_groups",
        "mean_reward_weighted",
    ]
    assert metrics_to_show([], {"a": {0: [row(0, accuracy=0.5, test_error=0.5)]}}) == [
        Metric("accuracy", True),
        Metric("test_error", False),
    ]
    assert metrics_to_show([], {"a": {}}) == []


def test_metrics_asked_for() -> None:
    rows = {"a": {0: [row(0, mean_reward=0.5, kl=0.0)]}}
    wanted = ["kl", "mean_reward:lower", "kl"]
    assert metrics_to_show(wanted, rows) == [Metric("kl", False), Metric("mean_reward", False)]
    assert parse_metric("kl:higher") == Metric("kl", True)
    with pytest.raises(RecipeError, match=r"must be one of mean_reward, kl, but got 'men_reward'\. Did you mean"):
        metrics_to_show(["men_reward"], rows)
    with pytest.raises(RecipeError, match="`:higher` or `:lower`"):
        parse_metric("kl:up")


def test_a_curve_leaves_out_what_was_not_measured_and_never_stands_still() -> None:
    rows = [row(0, j=1.0), row(4, j=None), row(8, j=2.0), row(8, j=3.0), row(12, j=float("nan"))]
    found = curve(rows, "j")
    assert found is not None
    assert (found.labels_E.tolist(), found.values_E.tolist()) == ([0.0, 8.0], [1.0, 3.0])
    assert curve(rows, "other") is None
