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
