"""A study that is served: what people answer at the desk is what it trains on, and nothing else."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

from duelist import Study, parse_recipe
from duelist.annotators.people import PeopleConfig
from duelist.store.artifacts import digest
from duelist.store.layout import METRICS
from duelist.types import Label
from duelist.web import worker
from duelist.web.record import Act
from duelist.web.served_study import ServedStudy, ledger_url
from duelist.web.sql_ledger import SqlLedger
from duelist.web.tasks import Task
from duelist.web.verify import verify
from killing import PROCESSES
from outcomes import smaller


@contextmanager
def served(folder: Path, recipe: dict[str, Any], config: PeopleConfig | None = None) -> Iterator[ServedStudy]:
    """A served study whose loop runs in a thread."""
    with Study.create(folder, parse_recipe(recipe)) as study:
        ledger = SqlLedger(ledger_url(folder))
        try:
            yield ServedStudy(study, ledger, config or PeopleConfig())
        finally:
            ledger.close()


@contextmanager
def running(study: ServedStudy) -> Iterator[threading.Thread]:
    failures: list[BaseException] = []

    def loop() -> None:
        try:
            study.run()
        except BaseException as error:
            failures.append(error)

    thread = threading.Thread(target=loop)
    thread.start()
    try:
        yield thread
    finally:
        study.stop()
        thread.join()
    assert not failures, failures


def prefer_longer(task: Task) -> str:
    """The id of the longer text; of equally long ones, of the one that comes first in the alphabet."""
    return min(task.item.responses, key=lambda r: (-len(r.text), r.text)).id


def sent(task: Task, outcome: str = "prefer", **changes: Any) -> dict[str, Any]:
    """An act as the page sends it."""
    chosen = prefer_longer(task) if outcome == "prefer" else None
    return {
        "act_id": str(uuid4()),
        "task_id": task.lease.id,
        "question_id": task.lease.question_id,
        "shown": list(task.lease.shown),
        "outcome": outcome,
        "chosen": chosen,
        "ranking": [],
        "best": None,
        "worst": None,
        "stopped": False,
        "placed": [],
        "active_seconds": 2.0,
        "idle_seconds": 0.0,
        "strength": None,
        "reasons": [],
        "comment": "",
        "better": None,
    } | changes


def label_all(study: ServedStudy, name: str, decide: Callable[[Task], dict[str, Any]] = sent) -> None:
    """Answer whatever comes, until the study is finished."""
    while True:
        got = study.desk.next(name)
        if isinstance(got, Task):
            study.desk.act(name, decide(got))
        elif got.reason == "finished":
            return
        else:
            with study.journal.changed:
                study.journal.changed.wait(0.2)


@pytest.fixture
def people_recipe(tiny_recipe: dict[str, Any]) -> dict[str, Any]:
    return {**tiny_recipe, "annotator": {"name": "people"}, "evaluation": {"max_new_tokens": 6}}


@pytest.mark.full
@pytest.mark.parametrize("lookahead", [0, 1])
def test_votes_at_the_desk_give_the_adapter_that_the_same_votes_give_through_tell(
    lookahead: int, people_recipe: dict[str, Any], tmp_path: Path
) -> None:
    recipe = {**people_recipe, "lookahead": lookahead, "rounds": 3}
    with served(tmp_path / "served", recipe) as study, running(study) as loop:
        label_all(study, "ann")
        loop.join()
        acts = {a.question_id: a for a in study.journal.record.acts.values()}
    assert len(acts) == 18
    with Study.create(tmp_path / "told", parse_recipe({**recipe, "annotator": None})) as told:
        while told.rounds_left:
            batch = told.ask()
            assert {p.id for p in batch.pairs} <= acts.keys()
            told.tell([Label(p.id, "ann", "a" if chosen(acts[p.id]) == p.a.id else "b") for p in batch.pairs])
            told.update()
    for t in range(4):
        weights = [tmp_path / name / "rounds" / f"{t:03d}" / "adapter" for name in ("served", "told")]
        assert digest(weights[0]) == digest(weights[1])
    assert verify(tmp_path / "served", ledger_url(tmp_path / "served")) == []


def chosen(act: Act) -> str:
    return str(act.sent["chosen"])


def test_an_undone_vote_is_no_label_and_a_new_one_counts(
    people_recipe: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Through the whole loop, worker included, with as little to compute as there can be."""
    monkeypatch.setattr(worker, "PROCESSES", PROCESSES)
    small = {**smaller(people_recipe), "rounds": 1, "budget": 2, "acquisition": "random", "featurizers": {}}
    with served(tmp_path / "s", small) as study, running(study) as loop:
        first: list[str] = []

        def decide(task: Task) -> dict[str, Any]:
            if not first:
                act = sent(task, "tie")
                first.append(act["act_id"])
                study.desk.act("ann", act)
                again = study.desk.undo("ann", str(uuid4()), act["act_id"])
                return sent(again.task, "both_good")
            return sent(task)

        label_all(study, "ann", decide)
        loop.join()
        store = study.study.store
        assert [x.outcome for x in store.current_labels() if x.id in first] == []
        assert sum(x.outcome == "both_good" for x in store.current_labels()) == 1
        assert len(store.current_labels()) == 2
    assert verify(tmp_path / "s", ledger_url(tmp_path / "s")) == []


@pytest.mark.full
def test_a_written_answer_makes_two_preferences_that_are_trained_on(
    people_recipe: dict[str, Any], tmp_path: Path
) -> None:
    def decide(task: Task) -> dict[str, Any]:
        return sent(task, "both_bad", better="w1 w2 w3 w4")

    with served(tmp_path / "s", {**people_recipe, "rounds": 1}) as study, running(study) as loop:
        label_all(study, "ann", decide)
        loop.join()
        stage = study.study.store.stage(1, "train")
        assert stage is not None and stage.info["preferences"] == 12
    rows = (tmp_path / "s" / "preferences.jsonl").read_text().splitlines()
    assert len(rows) == 12 and all("w1 w2 w3 w4" in row for row in rows)
    with Study.open(tmp_path / "s"):  # two preferences of one label are not taken for a lost database
        pass


@pytest.mark.full
def test_a_served_study_goes_on_after_the_server_ended(people_recipe: dict[str, Any], tmp_path: Path) -> None:
    folder = tmp_path / "s"
    with served(folder, people_recipe) as study, running(study):
        while not isinstance(got := study.desk.next("ann"), Task):
            with study.journal.changed:
                study.journal.changed.wait(0.2)
        act = sent(got)
        study.desk.act("ann", act)
    with served(folder, people_recipe) as study, running(study) as loop:
        assert study.desk.act("ann", act).duplicate
        label_all(study, "bob")
        loop.join()
        labels = study.study.store.current_labels()
    assert {x.annotator for x in labels} == {"ann", "bob"} and len(labels) == 12
    assert (folder / METRICS).read_text().count("\n") == 3
