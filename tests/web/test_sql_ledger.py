"""The ledger in SQLite and PostgreSQL: once, in order, all or none, and only acknowledged after the commit."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Barrier
from typing import Any
from uuid import uuid4

import pytest
from databases import postgresql
from desk_world import MemoryLedger
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import create_engine, event, text

from duelist.errors import RoundStateError, StorageError
from duelist.web.ledger import Event, EventConflictError, append
from duelist.web.sql_ledger import SqlLedger


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    with postgresql() as found:
        yield found


@pytest.fixture(params=["sqlite", pytest.param("postgresql", marks=pytest.mark.full)])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """An empty database."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path / 'study.db'}"
    found = str(request.getfixturevalue("server"))
    engine = create_engine(found)
    with engine.begin() as connection:
        connection.execute(text("DROP TABLE IF EXISTS events"))
    engine.dispose()
    return found


@pytest.fixture
def ledger(url: str) -> Iterator[SqlLedger]:
    opened = SqlLedger(url)
    yield opened
    opened.close()


def vote(name: str, **body: Any) -> Event:
    return Event(name, "voted", "ann", "q1", body=body)


def test_events_come_back_in_order_with_numbers(ledger: SqlLedger) -> None:
    receipts = append(ledger, [vote("one", text="ünï\u202e\0"), vote("two", deep={"list": [1, 2.5, None]})])
    assert [(r.event.number, r.duplicate) for r in receipts] == [(1, False), (2, False)]
    assert append(ledger, [vote("three")])[0].event.number == 3
    found = ledger.events()
    assert [e.id for e in found] == ["one", "two", "three"] and [e.id for e in ledger.events(after=2)] == ["three"]
    assert found[0].body == {"text": "ünï\u202e\0"} and found[1].body == {"deep": {"list": [1, 2.5, None]}}
    assert all(e.at.endswith("+00:00") for e in found)


def test_the_same_act_again_is_a_duplicate_and_another_content_a_conflict(ledger: SqlLedger) -> None:
    first = append(ledger, [vote("one", outcome="a")])[0]
    again = append(ledger, [vote("one", outcome="a")])[0]
    assert again.duplicate and again.event == first.event
    with pytest.raises(EventConflictError):
        append(ledger, [vote("fresh"), vote("one", outcome="b")])
    assert [e.id for e in ledger.events()] == ["one"], "none of a conflicting append is recorded"


def test_the_record_outlives_the_process(url: str) -> None:
    first = SqlLedger(url)
    append(first, [vote("one")])
    first.close()
    first.close()
    with pytest.raises(RoundStateError):
        append(first, [vote("late")])
    second = SqlLedger(url)
    assert append(second, [vote("two")])[0].event.number == 2
    assert [e.id for e in second.events()] == ["one", "two"]
    second.close()


def test_many_threads_share_commits_and_each_gets_its_own_receipt(ledger: SqlLedger) -> None:
    commits: list[object] = []
    event.listen(ledger._engine, "commit", commits.append)
    threads, each, start = 16, 10, Barrier(16)

    def client(name: int) -> list[int]:
        start.wait()
        return [append(ledger, [vote(f"{name}-{i}", who=name)])[0].event.number for i in range(each)]

    with ThreadPoolExecutor(threads) as pool:
        numbers = list(pool.map(client, range(threads)))
    assert sorted(n for own in numbers for n in own) == list(range(1, threads * each + 1))
    assert all(own == sorted(own) for own in numbers)
    stored = {e.number: e for e in ledger.events()}
    assert all(stored[n].body == {"who": name} for name, own in enumerate(numbers) for n in own)
    assert len(commits) < threads * each, "a group shares its commit"


APPENDS = st.lists(st.lists(st.tuples(st.integers(0, 5), st.integers(0, 1)), min_size=1, max_size=3), max_size=12)


@pytest.fixture(scope="module")
def used(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SqlLedger]:
    """A ledger that goes on from example to example."""
    opened = SqlLedger(f"sqlite:///{tmp_path_factory.mktemp('ledger') / 'study.db'}")
    yield opened
    opened.close()


@given(APPENDS)
def test_it_does_as_the_contract_in_memory(used: SqlLedger, appends: list[list[tuple[int, int]]]) -> None:
    oracle, example = MemoryLedger(), uuid4().hex
    before = len(used.events())
    for ids in appends:
        if len({i for i, _ in ids}) < len(ids):
            continue  # no append of ours names an id twice
        events = [vote(f"{example}-{i}", content=content) for i, content in ids]
        outcomes = []
        for one in (used, oracle):
            try:
                one.submit(events).result()
                outcomes.append("recorded")
            except EventConflictError:
                outcomes.append("conflict")
        assert outcomes[0] == outcomes[1]
    found = [(e.number - before, e.id, e.content) for e in used.events(after=before)]
    assert found == [(e.number, e.id, e.content) for e in oracle.events()]


def test_a_failed_write_fails_all_that_follows_until_it_is_known(tmp_path: Path) -> None:
    path = tmp_path / "study.db"
    ledger = SqlLedger(f"sqlite:///{path}")
    append(ledger, [vote("one")])
    broken = sqlite3.connect(path)
    broken.execute("ALTER TABLE events RENAME TO moved")
    broken.commit()
    futures = [ledger.submit([vote(f"lost-{i}")]) for i in range(3)]
    for future in futures:
        with pytest.raises(StorageError, match="ledger must be"):
            future.result()
    broken.execute("ALTER TABLE moved RENAME TO events")
    broken.commit()
    broken.close()
    with pytest.raises(StorageError):
        append(ledger, [vote("decided on what was lost")])
    ledger.recover()
    assert append(ledger, [vote("two")])[0].event.number == 2
    assert [e.id for e in ledger.events()] == ["one", "two"]
    ledger.close()


def test_sqlite_syncs_every_commit(tmp_path: Path) -> None:
    ledger = SqlLedger(f"sqlite:///{tmp_path / 'study.db'}")
    with ledger._engine.connect() as connection:
        assert connection.execute(text("PRAGMA synchronous")).scalar() == 2  # FULL
        assert connection.execute(text("PRAGMA journal_mode")).scalar() == "wal"
    ledger.close()


def test_a_second_writer_is_noticed_and_overwrites_nothing(url: str) -> None:
    first, second = SqlLedger(url), SqlLedger(url)
    append(first, [vote("one")])
    with pytest.raises(StorageError):
        append(second, [vote("other")])
    assert [e.id for e in first.events()] == ["one"]
    first.close()
    second.close()


def test_a_database_that_cannot_be_opened_says_so(tmp_path: Path) -> None:
    with pytest.raises(StorageError, match="ledger must be readable"):
        SqlLedger(f"sqlite:///{tmp_path / 'missing' / 'study.db'}")


def test_ledger_rows_are_readable_by_anyone(url: str) -> None:
    ledger = SqlLedger(url)
    append(ledger, [vote("one", outcome="a")])
    engine = create_engine(url)
    with engine.connect() as connection:
        rows = connection.execute(text("SELECT number, id, kind, annotator, question_id FROM events")).all()
    assert [tuple(row) for row in rows] == [(1, "one", "voted", "ann", "q1")]
    engine.dispose()
    ledger.close()
