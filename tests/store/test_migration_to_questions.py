"""A study made by version 0005, when every question was a pair: opened, continued, exported, killed while migrating."""

from __future__ import annotations

import json
import signal
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
import yaml

import killing
import small_study
from duelist.errors import StorageError
from duelist.report.status import status
from duelist.store.artifacts import write_json
from duelist.store.export import label_rows, trl_rows
from duelist.store.layout import DATABASE
from duelist.store.opening import create_folder, open_folder
from duelist.store.remains import known
from duelist.store.store import Store
from duelist.types import Label, Votes

DATA = Path(__file__).parent / "data"
SQL = (DATA / "study_0005.sql").read_text(encoding="utf-8")
PREFERENCES = [
    ("no 1 1", "yes 1 1"),
    ("yes 1 2", "no 1 2"),
    ("yes 1 0", "no 1 0"),
    ("yes 2 0", "no 2 0"),
]


def rows(folder: Path, query: str) -> list[Any]:
    with closing(sqlite3.connect(folder / DATABASE)) as connection:
        return connection.execute(query).fetchall()


def dump(folder: Path) -> list[str]:
    with closing(sqlite3.connect(folder / DATABASE)) as connection:
        return sorted(connection.iterdump())


@pytest.fixture
def old(tmp_path: Path) -> Path:
    """The folder of a study of two rounds: the first closed, the second half answered."""
    folder = tmp_path / "study"
    for t, parent in enumerate([folder / "rounds/000", folder / "rounds/001", folder]):
        weights = parent / "adapter"
        weights.mkdir(parents=True)
        (weights / "weights.bin").write_bytes(bytes([min(t, 1)]) * 1000)
        (weights / "config.json").write_text("{}")
    with closing(sqlite3.connect(folder / DATABASE)) as connection:
        connection.executescript(SQL)
    for t in (1, 2):
        picks = rows(folder, f"SELECT id, score, margin FROM pairs WHERE round = {t} ORDER BY position")
        keyed = [dict(zip(("pair_id", "score", "margin"), pick, strict=True)) for pick in picks]
        write_json(folder / f"rounds/00{t}/selection.json", {"unit": "nats", "diagnostics": {}, "picks": keyed})
    metrics = [json.loads(content) for (content,) in rows(folder, "SELECT metrics FROM rounds ORDER BY round")]
    preferences = [{"prompt": "Say something.", "chosen": c, "rejected": r} for c, r in PREFERENCES]
    for name, lines in (("metrics.jsonl", metrics), ("preferences.jsonl", preferences)):
        (folder / name).write_text("".join(json.dumps(line) + "\n" for line in lines))
    (folder / "recipe.yaml").write_text(yaml.safe_dump(small_study.RECIPE, sort_keys=False))
    return folder


def test_an_old_study_is_not_taken_for_a_lost_one_before_it_is_migrated(old: Path) -> None:
    before = dump(old)
    found = known(old)
    assert found is not None and (found.rounds, found.labels, set(found.asked)) == (2, 6, {1, 2})
    with pytest.raises(StorageError, match=r"version 0005.*older Duelist.*brings it up to date; nothing is lost"):
        Store(old, migrate=False)
    assert dump(old) == before


def test_every_row_is_kept(old: Path) -> None:
    labels = rows(
        old, "SELECT number, id, pair_id, annotator, outcome, seconds, shown, time, n_a, n_b, n_eq FROM labels"
    )
    written = rows(old, "SELECT recorded_at FROM labels ORDER BY number")
    pairs = rows(old, "SELECT id, round, position, score, unit, margin, weight FROM pairs ORDER BY id")
    sides = rows(old, "SELECT id, a, b FROM pairs ORDER BY id")
    other = ("prompts", "responses", "rounds", "stages", "recipes", "preferences_files")
    others = {name: rows(old, f"SELECT * FROM {name}") for name in other}
    Store(old).close()
    now = "number, id, question_id, annotator, outcome, seconds, shown, time, n_a, n_b, n_eq"
    assert rows(old, f"SELECT {now} FROM answers") == labels and len(labels) == 6
    assert rows(old, "SELECT recorded_at FROM answers ORDER BY number") == written
    assert rows(old, "SELECT DISTINCT content FROM answers") == [(None,)]
    assert rows(old, "SELECT id, round, position, score, unit, margin, weight FROM questions ORDER BY id") == pairs
    assert rows(old, "SELECT DISTINCT asks FROM questions") == [("pair",)]
    places = "SELECT question_id, response_id FROM question_responses WHERE place = {} ORDER BY question_id"
    assert rows(old, places.format(0)) == [(i, a) for i, a, _ in sides]
    assert rows(old, places.format(1)) == [(i, b) for i, _, b in sides]
    assert rows(old, "SELECT count(*) FROM question_responses") == [(2 * len(sides),)]
    assert {name: rows(old, f"SELECT * FROM {name}") for name in other} == others
    assert not {"pairs", "labels"} & {name for (name,) in rows(old, "SELECT name FROM sqlite_master")}
    assert rows(old, "PRAGMA foreign_key_check") == [] and rows(old, "PRAGMA integrity_check") == [("ok",)]


def test_an_old_study_exports_what_it_exported_before_and_goes_on(old: Path) -> None:
    as_before = [json.loads(line) for line in (DATA / "study_0005_labels.jsonl").read_text().splitlines()]
    preferences = (old / "preferences.jsonl").read_bytes()
    folder = open_folder(old)
    store = folder.store
    assert list(label_rows(store)) == as_before
    assert [(row["chosen"], row["rejected"]) for row in trl_rows(store)] == PREFERENCES
    assert store.damaged_labels() == []
    assert [(x.id, x.outcome, x.seconds, x.shown) for x in store.labels()][3:] == [
        ("x1", "b", 3.5, "ba"),
        ("x2", "a", None, None),
        ("x3", "tie", None, None),
    ]
    assert store.labels()[-1].votes == Votes(1, 1, 3)
    asked = store.asked(2)
    assert [x.rewards for x in asked] == [None] * 3
    assert {x.question.id for x in asked} - store.answered() == {asked[2].question.id}
    assert store.add_answers([store.labels()[3]]) == 0  # the same act as before
    assert store.add_answers([Label(asked[2].question.id, "ann", "b")]) == 1
    assert rows(old, "SELECT max(number) FROM answers") == [(7,)]
    small_study.close(folder, 2)
    folder.close()
    assert (old / "preferences.jsonl").read_bytes().startswith(preferences[:40])
    assert len((old / "preferences.jsonl").read_text().splitlines()) == 5
    now = status(old)
    assert (now["rounds_closed"], now["labels"], "damage" in now) == (2, 6, False)


def test_opening_alone_changes_no_file_that_users_read(old: Path) -> None:
    names = ("preferences.jsonl", "metrics.jsonl", "recipe.yaml", "adapter/weights.bin")
    before = {name: (old / name).read_bytes() for name in names}
    open_folder(old).close()
    create_folder(old, small_study.RECIPE).close()
    assert {name: (old / name).read_bytes() for name in names} == before
    assert rows(old, "SELECT count(*) FROM preferences_files") == [(3,)]
    assert status(old)["pending"] == {"round": 2, "asked": 3, "answered": 2}


STATEMENTS = 18  # tables, indexes, copies, drops, columns, and the version of the three migrations


@pytest.mark.parametrize("after", range(1, STATEMENTS + 1))
def test_a_kill_at_any_moment_of_the_migration_leaves_the_old_database(old: Path, after: int) -> None:
    before = dump(old)
    assert killing.in_process(killing.migrate_and_die, old, after) == -signal.SIGKILL
    assert dump(old) == before
    open_folder(old).close()
    assert rows(old, "SELECT count(*) FROM answers") == [(6,)]


def test_these_are_all_the_moments(old: Path) -> None:
    assert killing.in_process(killing.migrate_and_die, old, STATEMENTS + 1) == 0
