"""Import from other tools into a study that people answer at the page: through its server, or into its ledger."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from desk_world import act, task_of
from study_world import asked_study, pairs, served

import small_study
from duelist import Study
from duelist.cli.annotate import SECRET
from duelist.cli.export import imported
from duelist.study.importing import source_of
from duelist.types import Label, Question, Response
from duelist.web.commands import announce
from duelist.web.served_study import ledger_url
from duelist.web.serving import serving
from duelist.web.tokens import Secret
from duelist.web.verify import verify

IDS = [x.question.id for x in pairs(3)]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    asked_study(tmp_path / "study", pairs(3))
    return tmp_path / "study"


def rows(*changes: dict[str, Any]) -> list[dict[str, Any]]:
    return [{"pair_id": IDS[0], "annotator": "ann", "outcome": "a", **change} for change in changes]


def test_the_server_takes_the_answers(folder: Path) -> None:
    given = [*rows({}, {"pair_id": IDS[1], "outcome": "tie", "seconds": 4.0, "shown": "ba"})]
    given += rows(
        {"pair_id": "0123456789abcdef"}, {"annotator": "bob", "outcome": "tie", "n_a": 1, "n_b": 1, "n_eq": 0}
    )
    with served(folder) as study, serving(study.desk, Secret.at(folder / SECRET), tell=study.tell) as server:
        announce(folder, server.local)
        for new in (2, 0):
            report = imported(folder, source_of(given), None)
            assert (report.labels, report.repeated) == (new, 2 - new)
            unknown, counts = (p.message for p in report.problems)
            assert "never was" in unknown and "vote counts" in counts
        assert {task_of(study.desk.next("eve")).item.id} == {IDS[2]}, "their places are taken"
        labels = study.study.store.labels()
    assert [(x.pair_id, x.outcome, x.shown, x.seconds) for x in labels] == [
        (IDS[0], "a", None, None),
        (IDS[1], "tie", "ba", 4.0),
    ]
    assert verify(folder, ledger_url(folder)) == []


def test_between_two_servers_the_ledger_takes_them(folder: Path) -> None:
    with served(folder) as study:
        task = task_of(study.desk.next("ann"))
        study.desk.act("ann", act(task))
        study.settle()
    other = next(i for i in IDS if i != task.item.id)
    given = rows({"pair_id": other}, {"pair_id": task.item.id, "outcome": "both_bad"})
    report = imported(folder, source_of(given), None)
    assert report.labels == 1 and "has answered question" in report.problems[0].message
    assert verify(folder, ledger_url(folder)) == []


def test_known_preferences_are_no_business_of_the_desk(folder: Path) -> None:
    responses = [Response.of(small_study.PROMPT, text, [1], [9, n], 0) for n, text in enumerate(("x", "y"))]
    pair = Question.pair(*responses, 0)
    known = replace(pairs(1)[0], question=pair, round=0)
    with Study.open(folder) as study:
        study.store.add_known([known], [], [Label(pair.id, "team", "a", "k")])
    with served(folder) as study:
        assert [b.round for b in study.desk.rounds.opened()] == [1]
        assert {task_of(study.desk.next(f"person {i}")).item.id for i in range(3)} == set(IDS)
        assert study.standing().budget_left == 3 + 3
        told = folder.parent / "told.jsonl"
        told.write_text(json.dumps({"pair_id": pair.id, "annotator": "x", "outcome": "a"}) + "\n")
        with pytest.raises(ValueError, match="never asked"):
            study.tell(told)
    with served(folder) as study, serving(study.desk, Secret.at(folder / SECRET), tell=study.tell) as server:
        announce(folder, server.local)
        report = imported(folder, source_of(rows({}, {"pair_id": pair.id})), None)
        assert report.labels == 1 and "known before round 1" in report.problems[0].message
    assert verify(folder, ledger_url(folder)) == []
