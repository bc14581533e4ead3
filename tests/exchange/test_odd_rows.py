"""A row whose values are of kinds that no tool writes is a problem of its own; the other rows are kept."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from exchange_world import PROMPT, written

from duelist import Study
from duelist.exchange import argilla, label_studio, potato
from duelist.exchange.tasks import Task, item_id, tasks_of

HALF = "\ud800"  # half a surrogate pair, which JSON can hold
TIME = "2026-01-31T12:00:00Z"
OPINIONS = {"a_first": [0.8, 0.2, 0], "b_first": [0.8, 0.2, 0]}


def label_studio_item(task: Task, **changes: Any) -> Any:
    chosen = {"from_name": "outcome", "type": "choices", "value": {"choices": ["Both bad"]}}
    annotation = {"id": 1, "completed_by": 3, "created_at": TIME, "result": [chosen], **changes}
    return {**label_studio.task_data([task])[0], "annotations": [annotation]}


def label_studio_row(task: Task, **changes: Any) -> Any:
    own = {"annotation_id": 1, "annotator": 3, "created_at": TIME, "outcome": "Both bad", **changes}
    return {**label_studio.task_data([task])[0]["data"], **own}


def argilla_record(task: Task, *responses: Any) -> Any:
    good = [{"user_id": "ann", "value": "both_bad"}]
    return {**argilla.records([task])[0], "responses": {"outcome": list(responses) or good}}


def potato_state(task: Task, labels: Any = None, **changes: Any) -> Any:
    labels = labels or [[{"schema": potato.SCHEMA, "name": "both_bad"}, "1"]]
    return {"user_id": "ann", "instance_id_to_label_to_value": {item_id(task): labels}, **changes}


def own_row(task: Task, **changes: Any) -> Any:
    return {"pair_id": task.question.id, "annotator": "ann", "outcome": "both_bad", **changes}


def preference(task: Task, **changes: Any) -> Any:
    texts = {k: [{"role": "assistant", "content": v}] for k, v in zip(("chosen", "rejected"), task.texts, strict=True)}
    return {"prompt": PROMPT.as_trl(), **texts, **changes}


Make = Any
ODD: dict[str, tuple[Make, str, list[Make]]] = {
    "label-studio": (
        label_studio_item,
        "a.json",
        [
            lambda t: {**label_studio_item(t), "annotations": ["x"]},
            lambda t: label_studio_item(t, id=HALF),
            lambda t: label_studio_item(t, result=True),
            lambda t: label_studio_item(t, result=["x"]),
            lambda t: label_studio_item(t, result=[{"type": "choices", "from_name": "outcome", "value": 1}]),
            lambda t: label_studio_item(
                t, result=[{"type": "choices", "from_name": "outcome", "value": {"choices": {"a": 1}}}]
            ),
            lambda t: label_studio_row(t, comparison=1),
        ],
    ),
    "argilla": (
        argilla_record,
        "a.json",
        [
            lambda t: {**argilla_record(t), "responses": ["x"]},
            lambda t: argilla_record(t, "x"),
            lambda t: argilla_record(t, {"user_id": HALF, "value": "left"}),
        ],
    ),
    "potato": (
        potato_state,
        "a.json",
        [
            lambda t: potato_state(t, instance_id_to_label_to_value=[1]),
            lambda t: potato_state(t, "x"),
            lambda t: potato_state(t, [[{"schema": potato.SCHEMA}, "1"]]),
            lambda t: potato_state(t, instance_id_to_behavioral_data=[1]),
            lambda t: potato_state(t, instance_id_to_behavioral_data={item_id(t): {"session_end": 10**30}}),
        ],
    ),
    "jsonl": (
        own_row,
        "a.jsonl",
        [
            lambda t: {"pair_id": t.question.id, "labels": ["x"]},
            lambda t: own_row(t, annotator=HALF),
            lambda t: own_row(t, votes=True),
            lambda t: own_row(t, votes=[1]),
            lambda t: own_row(t, judgement="x"),
            lambda t: own_row(t, judgement={**OPINIONS, "colour": "red"}),
            lambda t: own_row(t, advisory="perhaps"),
        ],
    ),
    "trl": (preference, "a.jsonl", [lambda t: preference(t, annotator=HALF)]),
}


@pytest.mark.parametrize("tool", ODD)
def test_an_odd_row_is_a_problem_and_the_others_are_kept(study: Study, tool: str, tmp_path: Path) -> None:
    good, name, odd = ODD[tool]
    one, other = tasks_of(study.store)[:2]
    source = written(tmp_path / name, [*(make(one) for make in odd), good(other)])
    report = study.import_labels(source, tool)
    assert [x.pair_id for x in study.store.labels()] == [other.question.id]
    assert report.labels == 1 and len(report.problems) == len(odd)
    assert all("export it again" in str(p) or "correct" in str(p) for p in report.problems), report.problems
