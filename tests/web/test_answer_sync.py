"""Answers become labels: only those that are safe in the ledger, and each once."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from queue import SimpleQueue
from threading import Event as Flag
from typing import Any

import pytest
from desk_world import MemoryLedger, act, task_of
from study_world import asked_study, pairs, served

from duelist.errors import StorageError
from duelist.web.ledger import Event, Receipt
from duelist.web.study_page import statistics_of


class SlowDisk(MemoryLedger):
    """A ledger whose commits of votes end when the test says how."""

    def __init__(self) -> None:
        super().__init__()
        self.syncing: SimpleQueue[tuple[list[Event], Future[list[Receipt]]]] = SimpleQueue()
        self.began = Flag()

    def submit(self, events: Sequence[Event]) -> Future[list[Receipt]]:
        if events[0].kind != "voted":
            return super().submit(events)
        done: Future[list[Receipt]] = Future()
        self.syncing.put((list(events), done))
        self.began.set()
        return done

    def recover(self) -> None:
        pass

    def end(self, failure: Exception | None = None) -> None:
        events, done = self.syncing.get()
        if failure is not None:
            done.set_exception(failure)
        else:
            done.set_result(super().submit(events).result())


@pytest.mark.parametrize("fails", [False, True])
def test_an_answer_is_told_after_it_is_safe_and_not_if_it_is_lost(tmp_path: Path, fails: bool) -> None:
    asked_study(tmp_path / "s", pairs(2))
    disk = SlowDisk()
    with served(tmp_path / "s", disk) as study, ThreadPoolExecutor(2) as pool:
        sent = act(task_of(study.desk.next("ann")))
        voting = pool.submit(study.desk.act, "ann", sent)
        assert disk.began.wait(60)
        telling = pool.submit(study.settle)
        with pytest.raises(TimeoutError):
            telling.result(0.1)
        assert study.study.store.answers() == [], "the disk may still fail"
        disk.end(StorageError("full") if fails else None)
        telling.result()
        if fails:
            with pytest.raises(StorageError):
                voting.result()
            assert study.study.store.answers() == []
        else:
            assert voting.result().counts
            assert [x.id for x in study.study.store.answers()] == [sent["act_id"]]


def test_an_unchanged_ledger_is_not_read_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked_study(tmp_path / "s", pairs(2))
    with served(tmp_path / "s") as study:
        study.desk.act("ann", act(task_of(study.desk.next("ann"))))
        study.settle()
        assert len(study.study.store.answers()) == 1

        def read(*_: Any) -> None:
            raise AssertionError("the study's database is read although nothing happened")

        with monkeypatch.context() as patched:
            patched.setattr(type(study.study.store), "asked", read)
            study.settle()


def test_progress_waits_for_the_ledger_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is sent with every vote must not wait for the study's database, which training writes to."""
    asked_study(tmp_path / "s", pairs(2))

    def read(*_: Any, **__: Any) -> None:
        raise AssertionError("a vote waits for the study's database")

    with served(tmp_path / "s") as study:
        task = task_of(study.desk.next("ann"))
        with monkeypatch.context() as patched:
            patched.setattr("duelist.store.store.transaction", read)
            study.desk.act("ann", act(task))
            progress = study.desk.progress("ann")
    assert (progress.batch_done, progress.budget_left, progress.round, progress.rounds) == (1, 3, 1, 2)


def test_statistics_follow_an_answer_that_replaces_another(tmp_path: Path) -> None:
    pytest.importorskip("krippendorff", reason="agreement of people is computed by the package krippendorff")
    asked_study(tmp_path / "s", pairs(2), labels=2)
    with served(tmp_path / "s") as study:
        statistics = statistics_of(study)

        def alpha() -> Any:
            acts = [a for a in study.journal.record.acts.values() if a.answers]
            return statistics(acts)["Krippendorff's α"]

        for who in ("ann", "bob"):
            for _ in range(2):
                task = task_of(study.desk.next(who))
                last = act(task, chosen=task.item.response_ids[0])
                study.desk.act(who, last)
        assert alpha() == 1
        again = study.desk.undo("bob", act(task)["act_id"], last["act_id"]).task
        study.desk.act("bob", act(again, chosen=again.item.response_ids[1]))
        assert alpha() < 1
