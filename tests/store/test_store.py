"""What the store records: labels in any order, all or none, and never as something they are not."""

from __future__ import annotations

import shutil
import sqlite3
import tempfile
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import create_engine

from duelist.errors import DataError, DuelistError, LabelConflictError, StorageError
from duelist.store.codecs import pairs
from duelist.store.database import HEAD
from duelist.store.export import label_rows, trl_rows
from duelist.store.layout import DATABASE
from duelist.store.rows import AskedPair, Stage
from duelist.store.store import Store
from duelist.store.tables import Base
from duelist.types import OUTCOMES, Label, Pair, Prompt, Response, Votes

PROMPTS = [Prompt.of([{"role": "user", "content": f"question {i}"}], {"kind": i}) for i in range(2)]
RESPONSES = [Response.of(p, f"answer {k}", [1, 2], [3 + k, 4], "policy", 1) for p in PROMPTS for k in range(3)]
PAIRS = [
    Pair.of(RESPONSES[0], RESPONSES[1], 1),
    Pair.of(RESPONSES[1], RESPONSES[2], 1, weight=0.1),
    Pair.of(RESPONSES[4], RESPONSES[3], 2),
]
ASKED = [AskedPair(p, p.round, i if p.round == 1 else 0, 0.5 / (i + 1), "nats", -0.25 * i) for i, p in enumerate(PAIRS)]
A_TIME = datetime(2026, 1, 31, 12, tzinfo=UTC)


@pytest.fixture(scope="module")
def asked_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A study's folder in which two rounds were asked and nothing was answered."""
    folder = tmp_path_factory.mktemp("asked")
    store = Store(folder)
    for t in (1, 2):
        stage = Stage(t, "select", f"rounds/00{t}/selection.json", "00", 0.1, {"diagnostic": 1.0})
        store.finish_stage(stage, [x for x in ASKED if x.round == t], [PROMPTS[t - 1]])
    store.close()
    return folder


@contextmanager
def a_store(asked_folder: Path) -> Iterator[Store]:
    with tempfile.TemporaryDirectory() as folder:
        shutil.copytree(asked_folder, folder, dirs_exist_ok=True)
        store = Store(Path(folder), migrate=False)
        try:
            yield store
        finally:
            store.close()


@pytest.fixture
def store(asked_folder: Path) -> Iterator[Store]:
    with a_store(asked_folder) as store:
        yield store


zones = st.integers(-14, 14).map(lambda h: timezone(timedelta(hours=h)))
times = st.builds(
    lambda s, zone: (A_TIME + timedelta(seconds=s)).astimezone(zone).isoformat(), st.integers(0, 3), zones
)
votes = st.none() | st.builds(Votes, st.integers(0, 5), st.integers(0, 5), st.integers(0, 5))
labels_given = st.lists(
    st.builds(
        Label,
        pair_id=st.sampled_from([p.id for p in PAIRS]),
        annotator=st.sampled_from(["ann", "bob"]),
        outcome=st.sampled_from(OUTCOMES),
        seconds=st.none() | st.floats(0, 1e6),
        shown=st.sampled_from([None, "ab", "ba"]),
        time=times,
        votes=votes,
    ),
    max_size=8,
).map(lambda labels: [replace(label, id=f"label-{i}") for i, label in enumerate(labels)])


def latest(labels: Sequence[Label]) -> dict[tuple[str, str], Label]:
    """The label that counts, by definition: that of the latest moment, and of one moment the greatest id."""
    found: dict[tuple[str, str], Label] = {}
    for label in sorted(labels, key=lambda x: (datetime.fromisoformat(x.time or ""), x.id)):
        found[(label.pair_id, label.annotator)] = label
    return found


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
@given(labels=labels_given, data=st.data())
def test_order_of_arrival_splits_and_repeats_change_nothing(
    asked_folder: Path, labels: list[Label], data: st.DataObject
) -> None:
    repeated = labels + data.draw(st.lists(st.sampled_from(labels), max_size=4) if labels else st.just([]))
    arriving = data.draw(st.permutations(repeated))
    cuts = sorted(data.draw(st.lists(st.integers(0, len(arriving)), max_size=3)))
    with a_store(asked_folder) as store:
        parts = [arriving[i:j] for i, j in zip([0, *cuts], [*cuts, len(arriving)], strict=True)]
        assert sum(store.add_labels(part) for part in parts) == len(labels)
        assert sorted(store.labels(), key=lambda x: x.id) == sorted(labels, key=lambda x: x.id)

        expected = latest(labels)
        assert store.current_labels() == [expected[key] for key in sorted(expected)]
        assert store.answered() == {x.pair_id for x in labels}

        # Ties, skips and "both bad" are kept as what they are, and never become a preference.
        preferences = [(p.pair_id, p.annotator, p.chosen.id, p.rejected.id) for p in store.preferences()]
        by_id = {p.id: p for p in PAIRS}
        wanted = []
        for pair_id, annotator in sorted(expected):
            pair, label = by_id[pair_id], expected[(pair_id, annotator)]
            if label.outcome == "a":
                wanted.append((pair_id, annotator, pair.a.id, pair.b.id))
            if label.outcome == "b":
                wanted.append((pair_id, annotator, pair.b.id, pair.a.id))
        assert preferences == wanted
        assert [p.pair_id for p in store.preferences(2)] == [p for p, *_ in wanted if by_id[p].round == 2]
        assert len(list(trl_rows(store))) == len(wanted)
        assert sum(len(row["labels"]) for row in label_rows(store)) == len(labels)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
@given(labels=labels_given.filter(bool), position=st.integers(0, 8), data=st.data())
def test_a_bad_label_records_none_of_its_call(
    asked_folder: Path, labels: list[Label], position: int, data: st.DataObject
) -> None:
    first = data.draw(st.sampled_from(labels))
    bad, error = data.draw(
        st.sampled_from(
            [
                (replace(first, annotator="eve"), LabelConflictError),
                (replace(first, outcome="a" if first.outcome == "b" else "b"), LabelConflictError),
                (replace(first, time=(A_TIME - timedelta(days=1)).isoformat()), LabelConflictError),
                (replace(first, votes=Votes(9, 9, 9)), LabelConflictError),
                (replace(first, id="new", pair_id="never asked"), DataError),
                (replace(first, id="new", time="2026-01-31T12:00:00"), DataError),
            ]
        )
    )
    others = [replace(x, id=f"other-{i}") for i, x in enumerate(labels)]
    with a_store(asked_folder) as store:
        store.add_labels([first])
        with pytest.raises(error) as caught:
            store.add_labels([*others[:position], bad, *others[position:]])
        assert isinstance(caught.value, DuelistError)
        assert store.labels() == [first]
        assert store.add_labels([*others, first]) == len(others)


@pytest.mark.parametrize("time", ["2026-01-31T12:00:00", "2026-01-31", "yesterday", "", "0001-01-01T00:00:00+14:00"])
def test_a_time_without_zone_or_that_is_none_is_refused(time: str, store: Store) -> None:
    with pytest.raises(DataError, match=r"time must (say its time zone|be ISO 8601) \(2026-01-31T12:00:00\+00:00\)"):
        store.add_labels([Label(PAIRS[0].id, "ann", "a", time=time)])
    assert store.labels() == []


def test_what_comes_back_is_what_was_asked(store: Store) -> None:
    assert store.asked() == ASKED
    assert store.asked(2) == ASKED[2:]
    batch = store.batch(1)
    assert batch.pairs == tuple(PAIRS[:2])
    assert batch.scores_B == (0.5, 0.25)
    assert batch.unit == "nats"
    assert batch.prompts == {PROMPTS[0].id: PROMPTS[0]}
    assert len(store.asked()) == 3 and not store.answered() and not store.labels() and store.rounds_closed() == 0


def test_a_stage_is_finished_once_and_a_round_closed_once(store: Store) -> None:
    with pytest.raises(Exception, match="UNIQUE"):
        store.finish_stage(Stage(1, "select", "elsewhere", "11", 9.0, {}))
    found = store.stage(1, "select")
    assert found is not None
    assert found.digest == "00"
    for value in (0.5, 0.9):
        store.close_round(0, {"round": 0, "mean_reward": value})
    assert store.metrics() == [{"round": 0, "mean_reward": 0.5}]


def test_without_times_the_latest_to_arrive_counts(store: Store) -> None:
    for i, outcome in enumerate(("a", "b", "tie")):
        store.add_labels([Label(PAIRS[0].id, "ann", outcome, id=str(i))])  # type: ignore[arg-type]
    assert [x.outcome for x in store.current_labels()] == ["tie"]
    assert store.preferences() == []


def test_threads_that_tell_the_same_labels_record_each_once(store: Store) -> None:
    labels = [Label(p.id, f"person {i}", "a") for p in PAIRS for i in range(10)]
    with ThreadPoolExecutor(8) as threads:
        new = list(threads.map(lambda i: sum(store.add_labels([x]) for x in labels[i:] + labels[:i]), range(8)))
    assert sum(new) == len(labels)
    assert sorted(x.id for x in store.labels()) == sorted(x.id for x in labels)


def test_a_full_database_records_nothing_and_goes_on_when_there_is_room(store: Store) -> None:
    def limit(pages: int) -> None:  # SQLite's own limit gives SQLite's own "database or disk is full"
        with store._engine.connect() as connection:
            connection.exec_driver_sql(f"PRAGMA max_page_count = {pages}")

    labels = [Label(PAIRS[0].id, f"person {i} {'x' * 100}", "a") for i in range(200)]
    limit(1)  # the pages it has already, and no more
    with pytest.raises(StorageError, match=r"must be writable, but .*disk is full.*free disk space") as caught:
        store.add_labels(labels)
    assert isinstance(caught.value, OSError)
    assert store.labels() == []
    limit(1_000_000)
    assert store.add_labels(labels) == len(labels)


def test_migrations_give_the_schema_of_the_tables(store: Store) -> None:
    engine = create_engine(f"sqlite:///{store.folder / DATABASE}")
    with engine.connect() as connection:
        context = MigrationContext.configure(connection, opts={"compare_type": True})
        assert context.get_current_revision() == HEAD
        assert compare_metadata(context, Base.metadata) == []
    engine.dispose()


def test_an_older_database_is_brought_up_to_date_and_its_pairs_weigh_one(asked_folder: Path, tmp_path: Path) -> None:
    shutil.copytree(asked_folder, tmp_path, dirs_exist_ok=True)
    connection = sqlite3.connect(tmp_path / DATABASE)  # what version 0001 made of the same study
    for column in ("weight", "drawn_a", "drawn_b"):
        connection.execute(f"ALTER TABLE pairs DROP COLUMN {column}")
    connection.execute("UPDATE alembic_version SET version_num = '0001'")
    connection.commit()
    connection.close()
    with pytest.raises(StorageError, match=r"version 0001.*older Duelist.*brings it up to date"):
        Store(tmp_path, migrate=False)
    store = Store(tmp_path)
    try:
        assert store.asked() == [replace(x, pair=replace(x.pair, weight=1.0)) for x in ASKED]
    finally:
        store.close()
    test_migrations_give_the_schema_of_the_tables(store)


def test_a_pair_keeps_its_weight_into_training_and_exports(store: Store) -> None:
    store.add_labels([Label(p.id, "ann", "b") for p in PAIRS])
    assert {p.id: x.pair.weight for p, x in zip(PAIRS, store.asked(), strict=True)} == {p.id: p.weight for p in PAIRS}
    assert {p.pair_id: p.weight for p in store.preferences()} == {p.id: p.weight for p in PAIRS}
    assert {row["pair_id"]: row["weight"] for row in label_rows(store)} == {p.id: p.weight for p in PAIRS}
    assert len({p.weight for p in PAIRS}) == 2


def test_a_pair_keeps_from_where_its_responses_were_drawn_for_it(store: Store, tmp_path: Path) -> None:
    """The answer that the policy gave to another pair is the reference's here."""
    one, drawn = PAIRS[0], Pair.of(replace(RESPONSES[0], drawn_from="reference"), RESPONSES[2], 3)
    store.finish_stage(Stage(3, "select", "selection.json", "00", 0.1, {}), [AskedPair(drawn, 3, 0, 0.5, "nats", 0.0)])
    store.add_labels([Label(drawn.id, "ann", "a"), Label(one.id, "ann", "a")])
    assert store.asked(3)[0].pair == drawn
    origins = {(p.pair_id, r.id): r.drawn_from for p in store.preferences() for r in (p.chosen, p.rejected)}
    assert origins == {
        (drawn.id, RESPONSES[0].id): "reference",
        (drawn.id, RESPONSES[2].id): "policy",
        (one.id, RESPONSES[0].id): "policy",
        (one.id, RESPONSES[1].id): "policy",
    }
    codec = pairs([*RESPONSES])
    codec.write(tmp_path / "pairs.jsonl", [drawn, one])
    assert codec.read(tmp_path / "pairs.jsonl") == [drawn, one]


def test_a_stored_pair_keeps_its_sides(store: Store, tmp_path: Path) -> None:
    """A label names a side, so a pair that an earlier version stored must come back the way it was shown."""
    pair = Pair.of(replace(RESPONSES[0], drawn_from="plus"), replace(RESPONSES[2], drawn_from="minus"), 3)
    turned = replace(pair, a=pair.b, b=pair.a)
    store.finish_stage(Stage(3, "select", "selection.json", "00", 0.1, {}), [AskedPair(turned, 3, 0, 0.5, "nats", 0.0)])
    store.add_labels([Label(turned.id, "ann", "a")])
    assert store.asked(3)[0].pair == turned and store.batch(3).pairs == (turned,)
    (preference,) = store.preferences(3)
    assert (preference.chosen, preference.rejected) == (turned.a, turned.b)
    (row,) = (row for row in label_rows(store) if row["pair_id"] == turned.id)
    assert (row["response_a"], row["response_b"]) == (turned.a.text, turned.b.text)
    codec = pairs([*RESPONSES])
    codec.write(tmp_path / "pairs.jsonl", [turned])
    assert codec.read(tmp_path / "pairs.jsonl") == [turned]


def test_a_database_of_a_newer_version_is_refused(store: Store) -> None:
    connection = sqlite3.connect(store.folder / DATABASE)
    connection.execute("UPDATE alembic_version SET version_num = '9999'")
    connection.commit()
    connection.close()
    with pytest.raises(StorageError, match=rf"up to version {HEAD}.* version 9999.*Upgrade the package"):
        Store(store.folder)


def test_a_damaged_database_is_refused_with_the_remedy(tmp_path: Path) -> None:
    (tmp_path / DATABASE).write_bytes(b"not a database, " * 1000)
    with pytest.raises(StorageError, match=r"must be usable, but.*not a database.*restore it"):
        Store(tmp_path)


@pytest.mark.parametrize("name", [".", "not there"])
def test_reading_where_there_is_no_study_is_refused_and_makes_nothing(name: str, tmp_path: Path) -> None:
    with pytest.raises(StorageError, match=rf"must hold a {DATABASE}.*correct the path"):
        Store(tmp_path / name, migrate=False)
    assert list(tmp_path.iterdir()) == []
