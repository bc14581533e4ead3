"""Label Studio by files: questions out, and the votes of its exports back."""

from __future__ import annotations

from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest
from exchange_world import NASTY, PROMPT, VOTES, expected, said, study_of, written

import small_sets
from duelist import Study
from duelist.errors import DataError
from duelist.exchange import label_studio
from duelist.exchange.choices import CHOICES
from duelist.exchange.tasks import Task, tasks_of

TIME = "2026-01-31T12:00:00.123456Z"


def annotation(number: int, choice: Any, who: int = 3, side: str | None = None, **more: Any) -> dict[str, Any]:
    """An annotation as Label Studio 1.23 exports it."""
    result: list[dict[str, Any]] = []
    if side:
        result.append({"from_name": "comparison", "to_name": "left", "type": "pairwise", "value": {"selected": side}})
    if choice is not None:
        choices = choice if isinstance(choice, list) else [choice]
        result.append({"from_name": "outcome", "to_name": "prompt", "type": "choices", "value": {"choices": choices}})
    same = {"was_cancelled": False, "created_at": TIME, "lead_time": 12.5, "unique_id": f"u{number}"}
    return {"id": number, "completed_by": who, "result": result, **same, **more}


def exported(tasks: list[Task], annotations: list[list[dict[str, Any]]]) -> list[dict[str, Any]]:
    """Tasks with their annotations, as an export holds them."""
    data = label_studio.task_data(tasks)
    return [
        {"id": 100 + i, **row, "annotations": own, "drafts": [], "predictions": [], "project": 1}
        for i, (row, own) in enumerate(zip(data, annotations, strict=True))
    ]


def test_tasks_are_in_pick_order_and_hold_what_is_displayed(study: Study) -> None:
    tasks = tasks_of(study.store)
    rows = [row["data"] for row in label_studio.task_data(tasks)]
    asked = study.store.asked(1)
    assert [r["question_id"] for r in rows] == [x.question.id for x in asked]
    for row, x in zip(rows, asked, strict=True):
        texts = {r.id: r.text for r in x.question.responses}
        assert [row["left"], row["right"]] == [texts[i] for i in row["shown"]]
        assert sorted(row["shown"]) == sorted(texts)
        assert row["prompt"] == f"user: One?\n\nassistant: 1\n\nuser: {NASTY}"
    assert {r["shown"][0] == x.question.a.id for r, x in zip(rows, asked, strict=True)} == {True, False}, "shuffled"
    assert [t.shown for t in tasks] == [t.shown for t in tasks_of(study.store)], "the same whenever it is exported"


def test_the_configuration_shows_the_tasks_and_offers_every_outcome() -> None:
    root = ElementTree.fromstring(label_studio.configuration())
    (choices,) = root.iter("Choices")
    assert [c.get("value") for c in choices] == list(CHOICES)
    assert sorted(str(c.get("hotkey")) for c in choices) == ["1", "2", "3", "4", "5", "6"]
    (pairwise,) = root.iter("Pairwise")
    texts = {t.get("name"): t.get("value") for t in root.iter("Text")}
    assert pairwise.get("toName") == "left,right" and texts == {n: f"${n}" for n in ("prompt", "left", "right")}
    assert choices.get("required") == "true" and choices.get("toName") in texts


@pytest.mark.parametrize("minimal", [False, True])
def test_votes_come_back(study: Study, minimal: bool, tmp_path: Path) -> None:
    tasks = tasks_of(study.store)
    rows = exported(tasks, [*([annotation(i, v)] for i, v in enumerate(VOTES)), []])
    if minimal:
        rows = [
            {**r["data"], "id": r["id"], "outcome": v, "annotator": 3, "annotation_id": i, "created_at": TIME}
            | {"updated_at": TIME, "lead_time": 12.5}
            for i, (r, v) in enumerate(zip(rows, VOTES, strict=False))
        ]
    file = written(tmp_path / "export.json", rows)
    report = study.import_labels(file)
    assert (report.labels, report.problems) == (6, ())
    labels = study.store.labels()
    assert said(labels) == {t.question.id: expected(t, v) for t, v in zip(tasks, VOTES, strict=False)}
    assert {(x.annotator, x.seconds, x.time) for x in labels} == {("label-studio-3", 12.5, TIME)}
    again = study.import_labels(file)
    assert (again.labels, again.repeated, again.problems) == (0, 6, ()) and study.store.labels() == labels
    assert [t.question.id for t in tasks_of(study.store)] == [tasks[6].question.id], "what is left"
    assert len(tasks_of(study.store, every=True)) == 7


def test_json_and_json_min_give_the_same_labels(study: Study, tmp_path: Path) -> None:
    tasks = tasks_of(study.store)
    whole = exported(tasks[:1], [[annotation(5, "Both bad")]])
    minimal = {**whole[0]["data"], "outcome": "Both bad", "annotator": 3, "annotation_id": 5, "created_at": TIME}
    assert study.import_labels(written(tmp_path / "a.json", whole)).labels == 1
    report = study.import_labels(written(tmp_path / "b.json", [{**minimal, "lead_time": 12.5, "id": 100}]))
    assert (report.labels, report.repeated) == (0, 1)


def test_a_skipped_task_is_a_skip_and_a_click_on_a_side_is_no_vote(study: Study, tmp_path: Path) -> None:
    tasks = tasks_of(study.store)
    skipped = annotation(1, None, was_cancelled=True)
    agreeing = annotation(2, "Left is better", side="left")
    tied = annotation(3, "Equally good", side="left")
    rows = exported(tasks[:3], [[skipped], [agreeing], [tied]])
    assert study.import_labels(written(tmp_path / "e.json", rows)).problems == ()
    choices = ("Cannot tell", "Left is better", "Equally good")
    assert said(study.store.labels()) == {t.question.id: expected(t, v) for t, v in zip(tasks, choices, strict=False)}


WRONG: dict[str, tuple[dict[str, Any], str]] = {
    "an unknown choice": (annotation(1, "Fine"), "is 'Fine'"),
    "two choices": (annotation(1, ["Both bad", "Both good"]), "must be one of"),
    "two controls that differ": (
        annotation(1, None, result=annotation(1, "Both bad")["result"] + annotation(1, "Left is better")["result"]),
        "['Both bad', 'Left is better']",
    ),
    "a side alone": (annotation(1, None, side="left"), "is None"),
    "a contradiction": (annotation(1, "Left is better", side="right"), "right was clicked and the choice is left"),
    "nobody": (annotation(1, "Both bad", completed_by=None), "annotator's number"),
    "a negative time": (annotation(1, "Both bad", lead_time=-1), "seconds"),
    "no time zone": (annotation(1, "Both bad", created_at="2026-01-31T12:00:00"), "time zone"),
    "no id": (annotation(1, "Both bad", id=None), "needs its `id`"),
}


def test_wrong_votes_are_reported_and_the_others_recorded(study: Study, tmp_path: Path) -> None:
    task = tasks_of(study.store)[0]
    rows = exported([task], [[*(bad for bad, _ in WRONG.values()), annotation(9, "Both good", who=4)]])
    report = study.import_labels(written(tmp_path / "export.json", rows))
    assert report.labels == 1 and len(report.problems) == len(WRONG)
    for problem, (name, (bad, message)) in zip(report.problems, WRONG.items(), strict=True):
        assert message in problem.message, name
        assert problem.where.startswith(f"annotation {bad['id']} of item 1 of ")
    assert said(study.store.labels()) == {task.question.id: expected(task, "Both good")}


def test_tasks_of_another_study_and_spoilt_orders_are_reported(study: Study, tmp_path: Path) -> None:
    tasks = tasks_of(study.store)
    rows = exported(tasks[:4], [[annotation(i, "Left is better")] for i in range(4)])
    rows[0]["data"]["question_id"] = "0123456789abcdef"
    rows[1]["data"]["shown"] = rows[0]["data"]["shown"]
    del rows[2]["data"]["shown"]
    report = study.import_labels(written(tmp_path / "export.json", [*rows, {"data": 1}, 7]), "label-studio")
    unknown, order, missing, *strange = (p.message for p in report.problems)
    assert "0123456789abcdef" in unknown and "displayed order" in order and "displayed order" in missing
    assert len(strange) == 2 and report.labels == 1


def test_answers_twice_in_one_file(study: Study, tmp_path: Path) -> None:
    tasks = tasks_of(study.store)
    same = [annotation(1, "Both bad"), annotation(2, "Both bad"), annotation(3, "Both bad", who=4)]
    other = [annotation(4, "Left is better"), annotation(5, "Right is better")]
    file = written(tmp_path / "export.json", exported(tasks[:2], [same, other]))
    for labels in (3, 0):
        report = study.import_labels(file)
        duplicate, conflict = (p.message for p in report.problems)
        assert report.labels == labels and "gives the same answer" in duplicate and "answers question" in conflict
    assert said(study.store.labels())[tasks[1].question.id] == expected(tasks[1], "Left is better"), "the first is kept"


def test_a_vote_changed_in_the_tool_is_reported(study: Study, tmp_path: Path) -> None:
    tasks = tasks_of(study.store)
    for number, choice in ((1, "Left is better"), (1, "Both bad"), (2, "Both bad")):
        rows = exported(tasks[:1], [[annotation(number, choice)]])
        report = study.import_labels(written(tmp_path / "export.json", rows))
        assert (report.labels == 1) == (choice == "Left is better") and len(report.problems) == 1 - report.labels
    assert "has answered question" in report.problems[0].message
    assert len(study.store.labels()) == 1


def test_larger_questions_are_refused(tmp_path: Path) -> None:
    with study_of(tmp_path / "sets", small_sets.questions_of(1)) as study, pytest.raises(DataError) as caught:
        label_studio.files(tasks_of(study.store), "name")
    assert "4 of 5 questions have more responses" in str(caught.value) and "duelist annotate" in str(caught.value)


def test_the_prompt_of_these_tests_is_hard() -> None:
    """So that escaping is tested at all."""
    assert all(c in str(PROMPT.messages[-1]["content"]) for c in "<>&\"'\n{$")
