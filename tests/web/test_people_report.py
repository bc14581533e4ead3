"""The report on people, from what they did at the desk."""

from __future__ import annotations

import random
from contextlib import closing
from pathlib import Path

from desk_world import MemoryLedger, act, task_of
from study_world import asked_study, pairs, served

from duelist.web.ledger import append
from duelist.web.people_report import rows_of
from duelist.web.served_study import ledger_url
from duelist.web.sql_ledger import SqlLedger
from duelist.web.tasks import Task
from duelist.web.verify import verify


def test_who_always_takes_the_left_has_position_bias_and_who_chooses_does_not(tmp_path: Path) -> None:
    folder, votes = tmp_path / "s", 400
    asked_study(folder, pairs(votes), labels=2)
    coin = random.Random(1)
    in_memory = MemoryLedger()  # 1,600 syncs would take long
    with served(folder, in_memory) as study:
        for i in range(votes):
            task = task_of(study.desk.next("left"))
            study.desk.act("left", act(task, active_seconds=1.0))
            if i % 4:
                continue
            task = task_of(study.desk.next("fair"))
            better = task.item.response_ids[coin.random() < 0.5]
            study.desk.act("fair", act(task, chosen=better, active_seconds=30.0))
        study._sync.run()
        outcomes = [x.outcome for x in study.study.store.labels() if x.annotator == "left"]
    assert len(outcomes) == votes and 160 <= outcomes.count("a") <= 240
    with closing(SqlLedger(ledger_url(folder))) as ledger:
        append(ledger, in_memory.recorded)
    rows = {(r["annotator"], r["statistic"]): r for r in rows_of(folder, ledger_url(folder))}
    assert rows["left", "chose the first"]["remark"] == "position bias"
    assert rows["left", "chose the first"]["value"] == 1.0 and rows["left", "chose the first"]["n"] == votes
    assert rows["fair", "chose the first"]["remark"] == ""
    assert (rows["left", "median seconds"]["value"], rows["fair", "median seconds"]["value"]) == (1.0, 30.0)
    assert verify(folder, ledger_url(folder)) == []


def test_repeats_and_adjudications_are_no_part_of_agreement(tmp_path: Path) -> None:
    """Two people agree on all but one question; repeats are answered the other way, the dispute for ann."""
    folder, votes = tmp_path / "s", 30
    asked_study(folder, pairs(votes), labels=2, repeat_rate=0.4)
    in_memory, repeats = MemoryLedger(), 0
    with served(folder, in_memory) as study:
        disputed = ""
        for who in ("ann", "bob"):
            while isinstance(task := study.desk.next(who), Task):
                disputed = disputed or task.item.id
                other = task.lease.purpose == "repeat" or (who == "bob" and task.item.id == disputed)
                repeats += task.lease.purpose == "repeat"
                study.desk.act(who, act(task, chosen=sorted(task.item.response_ids)[other]))
        task = task_of(study.desk.next("eve", mode="adjudicate"))
        assert task.item.id == disputed
        study.desk.act("eve", act(task, chosen=min(task.item.response_ids)))
        study.settle()
    with closing(SqlLedger(ledger_url(folder))) as ledger:
        append(ledger, in_memory.recorded)
    rows = {
        (r["annotator"], r["statistic"]): r for r in rows_of(folder, ledger_url(folder)) if r["of"] != "random slice"
    }
    assert repeats > 4
    agreement = rows[None, "pairwise agreement"]
    assert (agreement["value"], agreement["n"]) == (1 - 1 / votes, votes)
    assert rows["eve", "votes"]["value"] == 1
    consistency = [rows[who, "self-consistency"] for who in ("ann", "bob")]
    assert sum(x["n"] for x in consistency) == repeats
