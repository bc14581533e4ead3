"""What the store records: labels in any order, all or none, and never as something they are not."""

from __future__ import annotations

import json
import shutil
import sqlite3
import tempfile
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import create_engine

from duelist.errors import DataError, DuelistError, LabelConflictError, RoundStateError, StorageError
from duelist.judgement import Judgement
from duelist.labels import PEOPLE_OUTCOMES, recorded_label
from duelist.store.codecs import DRAWS, questions
from duelist.store.database import HEAD, url_of
from duelist.store.decisions import decision_from, decision_json
from duelist.store.export import label_rows, trl_rows
from duelist.store.layout import DATABASE
from duelist.store.remains import recorded_recipe
from duelist.store.row_codecs import AskedQuestion, Stage
from duelist.store.store import Store
from duelist.store.tables import Base
from duelist.types import DrawnSet, Draws, Label, Prompt, Question, Response, Votes

PROMPTS = [Prompt.of([{"role": "user", "content": f"question {i}"}], {"kind": i}) for i in range(2)]
RESPONSES = [Response.of(p, f"answer {k}", [1, 2], [3 + k, 4], 1) for p in PROMPTS for k in range(3)]
PAIRS = [
    Question.pair(RESPONSES[0], RESPONSES[1], 1),
    Question.pair(RESPONSES[1], RESPONSES[2], 1, weight=0.1),
    Question.pair(RESPONSES[4], RESPONSES[3], 2),
]
ASKED = [
    AskedQuestion(p, p.round, i if p.round == 1 else 0, 0.5 / (i + 1), "nats", -0.25 * i) for i, p in enumerate(PAIRS)
]
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
decisions = st.tuples(st.sampled_from(PEOPLE_OUTCOMES), votes).filter(
    lambda x: x[1] is None or (not (x[0] == "a" and x[1].n_a < x[1].n_b) and not (x[0] == "b" and x[1].n_b < x[1].n_a))
)
labels_given = st.lists(
    st.builds(
        lambda decision, **others: Label(outcome=decision[0], votes=decision[1], **others),
        decision=decisions,
        pair_id=st.sampled_from([p.id for p in PAIRS]),
        annotator=st.sampled_from(["ann", "bob"]),
        seconds=st.none() | st.floats(0, 1e6),
        shown=st.sampled_from([None, "ab", "ba"]),
        time=times,
    ),
    max_size=8,
).map(lambda labels: [replace(label, id=f"label-{i}") for i, label in enumerate(labels)])


def latest(arriving: Sequence[Label]) -> dict[tuple[str, str], Label]:
    """The label that counts, by definition: the one whose first arrival is the last."""
    first_arrivals = {label.id: label for label in reversed(arriving)}  # the first to arrive overwrites its repeats
    found: dict[tuple[str, str], Label] = {}
    for label in sorted(first_arrivals.values(), key=arriving.index):
        found[(label.pair_id, label.annotator)] = label
    return found


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
@given(labels=labels_given, data=st.data())
def test_the_latest_arrival_counts_and_splits_and_repeats_change_nothing(
    asked_folder: Path, labels: list[Label], data: st.DataObject
) -> None:
    repeated = labels + data.draw(st.lists(st.sampled_from(labels), max_size=4) if labels else st.just([]))
    arriving = data.draw(st.permutations(repeated))
    cuts = sorted(data.draw(st.lists(st.integers(0, len(arriving)), max_size=3)))
    with a_store(asked_folder) as store:
        parts = [arriving[i:j] for i, j in zip([0, *cuts], [*cuts, len(arriving)], strict=True)]
        assert sum(store.add_answers(part) for part in parts) == len(labels)
        assert sorted(store.labels(), key=lambda x: x.id) == sorted(labels, key=lambda x: x.id)

        expected = latest(arriving)
        assert store.current_labels() == [expected[key] for key in sorted(expected)]
        assert store.answered() == {x.pair_id for x in labels}

        # Ties, skips and "both bad" are kept as what they are, and never become a preference.
        preferences = [(p.pair_id, p.annotator, p.chosen.id, p.rejected.id) for p in store.decisions()]
        by_id = {p.id: p for p in PAIRS}
        wanted = []
        for pair_id, annotator in sorted(expected):
            pair, label = by_id[pair_id], expected[(pair_id, annotator)]
            if label.outcome == "a":
                wanted.append((pair_id, annotator, pair.a.id, pair.b.id))
            if label.outcome == "b":
                wanted.append((pair_id, annotator, pair.b.id, pair.a.id))
        assert preferences == wanted
        assert [p.pair_id for p in store.decisions(2)] == [p for p, *_ in wanted if by_id[p].round == 2]
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
                (replace(first, outcome="tie" if first.outcome == "skip" else "skip"), LabelConflictError),
                (replace(first, time=(A_TIME - timedelta(days=1)).isoformat()), LabelConflictError),
                (replace(first, votes=Votes(9, 9, 9)), LabelConflictError),
                (replace(first, id="new", pair_id="never asked"), DataError),
                ("a", DataError),
            ]
        )
    )
    others = [replace(x, id=f"other-{i}") for i, x in enumerate(labels)]
    with a_store(asked_folder) as store:
        store.add_answers([first])
        with pytest.raises(error) as caught:
            store.add_answers([*others[:position], bad, *others[position:]])
        assert isinstance(caught.value, DuelistError)
        assert store.labels() == [first]
        assert store.add_answers([*others, first]) == len(others)


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


@pytest.mark.parametrize("times", [(None, None, None), ("12:00", "11:00", "10:00"), (None, "12:00", None)])
def test_a_decision_changed_and_changed_back_counts_whatever_the_clock_says(
    times: tuple[str | None, ...], store: Store
) -> None:
    moments = [time and f"2026-01-31T{time}:00+00:00" for time in times]
    for i, outcome in enumerate(("a", "b", "a")):
        assert store.add_answers([Label(PAIRS[0].id, "ann", outcome, time=moments[i])]) == 1  # type: ignore[arg-type]
        assert [x.outcome for x in store.current_labels()] == [outcome]
    assert store.add_answers([Label(PAIRS[0].id, "ann", "b"), Label(PAIRS[0].id, "ann", "tie")]) == 2
    assert [x.outcome for x in store.current_labels()] == ["tie"]  # in one call, the later in the list
    assert store.decisions() == []
    assert [x.outcome for x in store.labels()] == ["a", "b", "a", "b", "tie"]


def test_the_same_label_told_again_is_the_same_act(store: Store) -> None:
    first, second = Label(PAIRS[0].id, "ann", "a", seconds=4), Label(PAIRS[0].id, "ann", "b")
    assert store.add_answers([first, second]) == 2
    assert store.add_answers([first, replace(first, seconds=4.0)]) == 0
    assert [x.outcome for x in store.current_labels()] == ["b"]  # a repeat of the first does not count as the latest
    with pytest.raises(LabelConflictError, match=r"one act of labelling.*give a changed decision a new id"):
        store.add_answers([Label(PAIRS[1].id, "ann", "a"), replace(first, outcome="b")])
    assert len(store.labels()) == 2


OLD = {  # rows that version 0003 recorded: column -> value, and what becomes of them
    "annotator is no text": ({"annotator": b"x"}, "left out"),
    "votes are no counts": ({"n_a": 1.5, "n_b": "x", "n_eq": 0}, "left out"),
    "negative votes": ({"n_a": -3, "n_b": 2, "n_eq": 0}, "left out"),
    "unknown outcome": ({"outcome": "A"}, "left out"),
    "endless seconds": ({"seconds": float("inf")}, "counts without"),
    "shown as bytes": ({"shown": b"ab"}, "counts without"),
    "negative seconds": ({"seconds": -1.0}, ""),
    "unknown order": ({"shown": "zz"}, ""),
    "against its votes": ({"n_a": 0, "n_b": 5, "n_eq": 0}, ""),
    "no annotator": ({"annotator": ""}, ""),
}


@pytest.mark.parametrize("case", OLD)
def test_an_old_row_counts_as_far_as_it_can_be_used_and_is_never_deleted(case: str, store: Store) -> None:
    changes, becomes = OLD[case]
    store.add_answers([Label(PAIRS[1].id, "bob", "b")])
    row = {"id": "old", "question_id": PAIRS[0].id, "annotator": "ann", "outcome": "a", "recorded_at": "2026"} | changes
    connection = sqlite3.connect(store.folder / DATABASE)
    names = ", ".join(row)
    connection.execute(f"INSERT INTO answers ({names}) VALUES ({', '.join('?' * len(row))})", list(row.values()))
    connection.commit()

    expected = 1 if becomes == "left out" else 2
    assert len(store.labels()) == len(store.current_labels()) == len(store.decisions(votes="soft")) == expected
    assert len(store.answered()) == expected
    assert len(json.dumps(list(label_rows(store)), allow_nan=False)) > 0
    assert len(list(trl_rows(store))) == expected
    assert [becomes in said for said in store.damaged_labels()] == [True] * bool(becomes)
    with pytest.raises(LabelConflictError):
        store.add_answers([Label(PAIRS[0].id, "eve", "a", id="old")])
    assert store.add_answers([Label(PAIRS[0].id, "ann", "a")]) == 1  # people go on
    assert connection.execute("SELECT count(*) FROM answers WHERE id = 'old'").fetchone() == (1,)
    connection.close()


def test_labels_of_an_old_study_are_checked_when_they_are_told_to_another(store: Store) -> None:
    values = vars(Label(PAIRS[0].id, "ann", "a")) | {"seconds": -1.0}
    with pytest.raises(DataError, match="seconds must be"):
        store.add_answers([recorded_label(values)])
    assert store.labels() == []


def test_a_closed_store_records_nothing_more(store: Store) -> None:
    store.close()
    with pytest.raises(RoundStateError, match=r"must be open.*was closed: open it again"):
        store.add_answers([Label(PAIRS[0].id, "ann", "a")])
    store.close()
    assert store.labels() == []


@pytest.mark.parametrize("labels", [None, 5, Label(PAIRS[0].id, "ann", "a"), [None], "ab", {"a": 1}])
def test_what_is_no_list_of_labels_is_refused(labels: Any, store: Store) -> None:
    with pytest.raises(DataError, match=r"must be a list of `duelist.Label`.*put such labels in a list"):
        store.add_answers(labels)


def test_labels_may_come_in_any_sequence_or_be_made_one_by_one(store: Store) -> None:
    labels = [Label(p.id, "ann", "a") for p in PAIRS]
    assert store.add_answers(tuple(labels)) == len(labels)
    assert store.add_answers(iter(labels)) == 0  # type: ignore[arg-type]


def test_threads_that_tell_the_same_labels_record_each_once(store: Store) -> None:
    labels = [Label(p.id, f"person {i}", "a") for p in PAIRS for i in range(10)]
    with ThreadPoolExecutor(8) as threads:
        new = list(threads.map(lambda i: sum(store.add_answers([x]) for x in labels[i:] + labels[:i]), range(8)))
    assert sum(new) == len(labels)
    assert sorted(x.id for x in store.labels()) == sorted(x.id for x in labels)


def test_a_full_database_records_nothing_and_goes_on_when_there_is_room(store: Store) -> None:
    def limit(pages: int) -> None:  # SQLite's own limit gives SQLite's own "database or disk is full"
        with store._engine.connect() as connection:
            connection.exec_driver_sql(f"PRAGMA max_page_count = {pages}")

    labels = [Label(PAIRS[0].id, f"person {i} {'x' * 100}", "a") for i in range(200)]
    limit(1)  # the pages it has already, and no more
    with pytest.raises(StorageError, match=r"must be writable, but .*disk is full.*free disk space") as caught:
        store.add_answers(labels)
    assert isinstance(caught.value, OSError)
    assert store.labels() == []
    limit(1_000_000)
    assert store.add_answers(labels) == len(labels)


def test_migrations_give_the_schema_of_the_tables(store: Store) -> None:
    engine = create_engine(url_of(store.folder))
    with engine.connect() as connection:
        context = MigrationContext.configure(connection, opts={"compare_type": True})
        assert context.get_current_revision() == HEAD
        assert compare_metadata(context, Base.metadata) == []
    engine.dispose()


def test_an_older_database_is_brought_up_to_date_and_its_pairs_weigh_one(tmp_path: Path) -> None:
    connection = sqlite3.connect(tmp_path / DATABASE)  # what version 0001 made of the same study
    connection.executescript((Path(__file__).parent / "version_0004.sql").read_text())
    asked = connection.execute("SELECT id, a, b, round, position, score, unit, margin FROM pairs").fetchall()
    for table in ("recipes", "preferences_files"):
        connection.execute(f"DROP TABLE {table}")
    for column in ("weight", "drawn_a", "drawn_b"):
        connection.execute(f"ALTER TABLE pairs DROP COLUMN {column}")
    connection.execute("UPDATE responses SET drawn_from = 'policy'")
    connection.execute("UPDATE alembic_version SET version_num = '0001'")
    connection.commit()
    connection.close()
    with pytest.raises(StorageError, match=r"version 0001.*older Duelist.*brings it up to date"):
        Store(tmp_path, migrate=False)
    store = Store(tmp_path)
    try:
        found = store.asked()
        assert {(x.question.weight, x.question.drawn_from) for x in found} == {(1.0, ("policy", "policy"))}
        sides = [(x.question.id, x.question.a.id, x.question.b.id) for x in found]
        selected = [(x.round, x.position, x.score, x.unit, x.margin) for x in found]
        assert [(*a, *b) for a, b in zip(sides, selected, strict=True)] == sorted(asked, key=lambda row: row[3:5])
    finally:
        store.close()
    test_migrations_give_the_schema_of_the_tables(store)


def test_pairs_of_version_0004_keep_their_origins_and_get_those_that_only_their_responses_had(tmp_path: Path) -> None:
    """Answer 1 was first drawn from the reference, answers 0 and 2 from the policy; round 2 drew answer 0 otherwise."""
    with closing(sqlite3.connect(tmp_path / DATABASE)) as connection:
        connection.executescript((Path(__file__).parent / "version_0004.sql").read_text())
    store = Store(tmp_path)
    try:
        asked, preferences = store.asked(), store.decisions()
        origins = [
            dict(zip((x.question.a.text, x.question.b.text), x.question.drawn_from or (), strict=True)) for x in asked
        ]
        assert origins == [
            {"answer 1": "reference", "answer 0": "policy"},
            {"answer 1": "reference", "answer 2": "policy"},
            {"answer 0": "reference", "answer 2": "policy"},
        ]
        assert [x.question.id for x in asked] == ["a0b14e1f976d69e6", "ab7d57d09715e692", "0c8bc9dd29bd181f"]
        assert [x.question.weight for x in asked] == [1.0, 0.25, 1.0]
        assert [(p.chosen.text, p.rejected.text, p.drawn_from) for p in preferences] == [
            ("answer 0", "answer 2", ("reference", "policy")),
            ("answer 1", "answer 0", ("reference", "policy")),
            ("answer 2", "answer 1", ("policy", "reference")),
        ]
    finally:
        store.close()
    test_migrations_give_the_schema_of_the_tables(store)


def test_a_pair_keeps_its_weight_into_training_and_exports(store: Store) -> None:
    store.add_answers([Label(p.id, "ann", "b") for p in PAIRS])
    assert {p.id: x.question.weight for p, x in zip(PAIRS, store.asked(), strict=True)} == {
        p.id: p.weight for p in PAIRS
    }
    assert {p.pair_id: p.weight for p in store.decisions()} == {p.id: p.weight for p in PAIRS}
    assert {row["pair_id"]: row["weight"] for row in label_rows(store)} == {p.id: p.weight for p in PAIRS}
    assert len({p.weight for p in PAIRS}) == 2


def test_a_pair_keeps_from_where_its_responses_were_drawn_for_it(store: Store, tmp_path: Path) -> None:
    """The answer that the policy gave to another pair is the reference's here."""
    drawn = Question.pair(RESPONSES[0], RESPONSES[2], 3, drawn_from=("reference", "policy"))
    one = Question.pair(RESPONSES[3], RESPONSES[5], 3, drawn_from=("policy", "plus"))
    unknown = PAIRS[0]
    asked = [AskedQuestion(p, 3, i, 0.5, "nats", 0.0) for i, p in enumerate((drawn, one))]
    store.finish_stage(Stage(3, "select", "selection.json", "00", 0.1, {}), asked)
    assert [x.question for x in store.asked(3)] == [drawn, one]
    for outcome in ("a", "b"):
        store.add_answers([Label(p.id, "ann", outcome) for p in (drawn, one, unknown)])
        origins = {
            p.pair_id: p.drawn_from and {p.chosen.id: p.drawn_from[0], p.rejected.id: p.drawn_from[1]}
            for p in store.decisions()
        }
        assert origins == {
            drawn.id: {RESPONSES[0].id: "reference", RESPONSES[2].id: "policy"},
            one.id: {RESPONSES[3].id: "policy", RESPONSES[5].id: "plus"},
            unknown.id: None,
        }
        taken = store.decisions()
        assert [decision_from(decision_json(p, known(store)[0]), *known(store)) for p in taken] == taken
    codec = questions(Draws(tuple(RESPONSES)))
    codec.write(tmp_path / "pairs.jsonl", [drawn, one, unknown])
    assert codec.read(tmp_path / "pairs.jsonl") == [drawn, one, unknown]


def known(store: Store) -> tuple[dict[str, Question], dict[str, Prompt]]:
    return {x.question.id: x.question for x in store.asked()}, store.prompts()


def test_draws_come_back_with_their_origins(tmp_path: Path) -> None:
    sets = (
        DrawnSet(RESPONSES[1].id, RESPONSES[0].id, 0.5, ("plus", "minus")),
        DrawnSet(RESPONSES[0].id, RESPONSES[2].id),
    )
    origins = {RESPONSES[0].id: "policy", RESPONSES[1].id: "plus"}
    draws = Draws(tuple(RESPONSES[:3]), sets, drawn_from=origins)  # type: ignore[arg-type]
    DRAWS.write(tmp_path / "responses.jsonl", draws)
    assert DRAWS.read(tmp_path / "responses.jsonl") == draws
    rows = [json.loads(line) for line in (tmp_path / "responses.jsonl").read_text().splitlines()]
    assert [row.get("drawn_from") for row in rows] == ["policy", "plus", None]


def test_artifacts_of_earlier_versions_say_where_responses_were_drawn(tmp_path: Path) -> None:
    """A response said where it was drawn; pairs and sets said it later, and pairs their weight."""
    a, b, c = RESPONSES[:3]
    rows = [
        {**json.loads(json.dumps(vars(r))), "drawn_from": origin}
        for r, origin in ((a, "policy"), (b, "reference"), (c, "plus"))
    ]
    rows[0]["drawn_with"] = [[1, b.id, 2.0], [0, c.id, 1.0, ["minus", "plus"]]]
    (tmp_path / "responses.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    draws = DRAWS.read(tmp_path / "responses.jsonl")
    assert draws.responses == (a, b, c)
    assert draws.sets == (DrawnSet(a.id, c.id, 1.0, ("minus", "plus")), DrawnSet(a.id, b.id, 2.0))
    assert draws.drawn_from == {a.id: "policy", b.id: "reference", c.id: "plus"}
    old = [
        {"id": "one", "a": b.id, "b": a.id, "round": 1},
        {"id": "two", "a": c.id, "b": a.id, "round": 1, "weight": 2.0, "drawn_from": ["plus", "minus"]},
    ]
    (tmp_path / "pairs.jsonl").write_text("".join(json.dumps(row) + "\n" for row in old))
    assert questions(draws).read(tmp_path / "pairs.jsonl") == [
        Question("one", (b, a), 1, 1.0, ("reference", "policy")),
        Question("two", (c, a), 1, 2.0, ("plus", "minus")),
    ]


def test_only_a_judge_s_label_is_replaced_by_a_person_s(store: Store) -> None:
    """A prelabeller may label some pairs only: on the others every person's label counts."""
    verdict = Judgement((0.9, 0.1, 0.0), (0.9, 0.1, 0.0))
    judges = Label(PAIRS[0].id, "judge", "a", judgement=verdict)
    store.finish_stage(Stage(1, "prelabel", "prelabel.json", "00", 0.1, {}), labels=[judges])
    store.add_answers([Label(pair.id, name, "b") for pair in PAIRS[:2] for name in ("ann", "bob")])
    counting = {(x.pair_id, x.annotator) for x in store.current_labels()}
    assert counting == {(pair.id, name) for pair in PAIRS[:2] for name in ("ann", "bob")}


def test_a_judge_s_label_is_replaced_although_the_person_was_first(store: Store) -> None:
    """A study that was killed between its selection and its judge is told an answer, and then goes on."""
    store.add_answers([Label(PAIRS[0].id, "ann", "b")])
    verdict = Judgement((0.9, 0.1, 0.0), (0.9, 0.1, 0.0))
    judges = Label(PAIRS[0].id, "judge", "a", judgement=verdict)
    store.finish_stage(Stage(1, "prelabel", "prelabel.json", "00", 0.1, {}), labels=[judges])
    assert [x.annotator for x in store.current_labels()] == ["ann"]


def test_a_stored_pair_keeps_its_sides(store: Store, tmp_path: Path) -> None:
    """A label names a side, so a pair that an earlier version stored must come back the way it was shown."""
    pair = Question.pair(RESPONSES[0], RESPONSES[2], 3)
    turned = replace(pair, responses=(pair.b, pair.a), drawn_from=("plus", "minus"))
    store.finish_stage(
        Stage(3, "select", "selection.json", "00", 0.1, {}), [AskedQuestion(turned, 3, 0, 0.5, "nats", 0.0)]
    )
    store.add_answers([Label(turned.id, "ann", "a")])
    assert store.asked(3)[0].question == turned and store.batch(3).pairs == (turned,)
    (preference,) = store.decisions(3)
    assert (preference.chosen, preference.rejected) == (turned.a, turned.b)
    (row,) = (row for row in label_rows(store) if row["pair_id"] == turned.id)
    assert (row["response_a"], row["response_b"]) == (turned.a.text, turned.b.text)
    codec = questions(Draws(tuple(RESPONSES)))
    codec.write(tmp_path / "pairs.jsonl", [turned])
    assert codec.read(tmp_path / "pairs.jsonl") == [turned]


def test_a_folder_may_have_any_name(tmp_path: Path) -> None:
    """Also one with characters that mean something in a URL."""
    folder = tmp_path / "50%25? of #1 & more"
    folder.mkdir()
    store = Store(folder)
    store.keep_recipe({"name": "x"})
    store.close()
    assert [path.name for path in tmp_path.iterdir()] == [folder.name] and (folder / DATABASE).is_file()
    assert recorded_recipe(folder) == {"name": "x"}


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


def test_a_damaged_page_is_an_error_that_says_what_to_do(store: Store) -> None:
    store.add_answers([Label(PAIRS[0].id, f"person {i}", "a", shown="ab") for i in range(500)])
    store.close()
    file = store.folder / DATABASE
    connection = sqlite3.connect(file)
    (page,) = connection.execute("SELECT rootpage FROM sqlite_master WHERE name = 'answers'").fetchone()
    (size,) = connection.execute("PRAGMA page_size").fetchone()
    connection.close()
    content = bytearray(file.read_bytes())
    content[(page - 1) * size : page * size] = b"\xff" * size
    file.write_bytes(content)
    damaged = Store(store.folder, migrate=False)
    for read in (damaged.labels, damaged.current_labels, lambda: damaged.add_answers([Label(PAIRS[0].id, "eve", "a")])):
        with pytest.raises(StorageError, match=r"must be usable, but.*malformed.*restore it from a copy"):
            read()
    damaged.close()


@pytest.mark.parametrize("name", [".", "not there"])
def test_reading_where_there_is_no_study_is_refused_and_makes_nothing(name: str, tmp_path: Path) -> None:
    with pytest.raises(StorageError, match=rf"must hold a {DATABASE}.*correct the path"):
        Store(tmp_path / name, migrate=False)
    assert list(tmp_path.iterdir()) == []
