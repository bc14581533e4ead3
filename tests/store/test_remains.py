"""A database that lost something is never taken for a study that has just begun, nor a kill for a loss."""

from __future__ import annotations

import shutil
import sqlite3
from collections.abc import Callable
from pathlib import Path

import pytest

import small_study
from duelist.errors import StorageError
from duelist.report.record import read_arm
from duelist.report.status import status
from duelist.store.layout import DATABASE
from duelist.store.opening import create_folder, open_folder
from duelist.store.store import Store

OTHER = {**small_study.RECIPE, "budget": 2}


def files(path: Path) -> dict[str, bytes]:
    """Every file but what SQLite and the lock keep for themselves."""
    own = {".lock", f"{DATABASE}-wal", f"{DATABASE}-shm"}
    return {str(p.relative_to(path)): p.read_bytes() for p in path.rglob("*") if p.is_file() and p.name not in own}


def in_sql(path: Path, *statements: str) -> None:
    connection = sqlite3.connect(path / DATABASE)
    for statement in statements:
        connection.execute(statement)
    connection.commit()
    connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    connection.close()


def deleting(which: str) -> tuple[str, str]:
    """The statements that delete some questions."""
    asked = f"(SELECT id FROM questions WHERE {which})"
    return f"DELETE FROM question_responses WHERE question_id IN {asked}", f"DELETE FROM questions WHERE {which}"


def remove(path: Path) -> None:
    (path / DATABASE).unlink()


def empty(path: Path) -> None:
    (path / DATABASE).write_bytes(b"")


def new(path: Path) -> None:
    remove(path)
    Store(path).close()


def delete_rows(path: Path) -> None:
    tables = (
        "answers",
        "question_responses",
        "questions",
        "responses",
        "prompts",
        "stages",
        "rounds",
        "recipes",
        "preferences_files",
    )
    in_sql(path, *(f"DELETE FROM {table}" for table in tables))


def restore_without_wal(path: Path) -> None:
    delete_rows(path)
    in_sql(path, "PRAGMA journal_mode=DELETE")


LOSSES: dict[str, tuple[Callable[[Path], None], str]] = {
    "missing": (remove, "it is missing"),
    "0 bytes": (empty, "it is empty"),
    "new": (new, "metrics.jsonl has 3 closed rounds, the database 0"),
    "a copy of another journal mode": (restore_without_wal, "metrics.jsonl has 3 closed rounds, the database 0"),
    "rows deleted": (delete_rows, "metrics.jsonl has 3 closed rounds, the database 0"),
    "a pair deleted": (
        lambda p: in_sql(p, "DELETE FROM answers WHERE number = 1", *deleting("round = 1 AND position = 0")),
        "selection.json of round 1 has 3 pairs, the database 2 of them",
    ),
    "a round deleted": (
        lambda p: in_sql(p, "DELETE FROM answers WHERE number > 3", *deleting("round = 2")),
        "round 2 has asked questions, of which the database knows none",
    ),
    "labels deleted": (
        lambda p: in_sql(p, "DELETE FROM answers WHERE number > 4"),
        "preferences.jsonl has 6 preferences, the database 4 labels",
    ),
}


@pytest.mark.parametrize("case", LOSSES)
@pytest.mark.parametrize("opening", ["open", "create", "begin anew"])
def test_a_database_that_lost_something_is_refused_and_nothing_is_written(
    case: str, opening: str, tmp_path: Path
) -> None:
    lose, said = LOSSES[case]
    small_study.finished(tmp_path)
    lose(tmp_path)
    before = files(tmp_path)
    with pytest.raises(StorageError, match=r"must know all that was asked.*Restore study.db from a copy") as caught:
        if opening == "open":
            open_folder(tmp_path)
        else:
            create_folder(tmp_path, small_study.RECIPE if opening == "create" else OTHER)
    assert said in str(caught.value)
    for copy in ("preferences.jsonl (6 different preferences)", "metrics.jsonl (3 closed rounds)", "rounds/ (2 rounds"):
        assert copy in str(caught.value)
    assert files(tmp_path) == before


@pytest.mark.parametrize("left", ["preferences.jsonl", "metrics.jsonl", "rounds", f"{DATABASE}-wal"])
def test_one_kind_of_copy_is_enough_to_notice(left: str, tmp_path: Path) -> None:
    small_study.finished(tmp_path)
    for path in tmp_path.iterdir():
        if path.name not in (left, "recipe.yaml"):
            shutil.rmtree(path) if path.is_dir() else path.unlink()
    (tmp_path / f"{DATABASE}-wal").write_bytes(b"frames" if left.endswith("wal") else b"")
    with pytest.raises(StorageError, match="it is missing"):
        open_folder(tmp_path)
    with pytest.raises(StorageError, match="it is missing"):
        status(tmp_path)
    assert not (tmp_path / DATABASE).exists()


@pytest.mark.parametrize("then", ["asked", "answered", "trained", "closed"])
def test_an_older_copy_of_the_database_is_refused_from_the_moment_a_round_was_asked(then: str, tmp_path: Path) -> None:
    small_study.finished(tmp_path / "study", rounds=1)
    shutil.copy(tmp_path / "study" / DATABASE, tmp_path / "older")
    folder = open_folder(tmp_path / "study")
    small_study.ask(folder, 2)
    if then != "asked":
        small_study.tell(folder, 2)
    if then == "trained":
        folder.run_training(2, "adapter", lambda target: {})
    if then == "closed":
        small_study.close(folder, 2)
    folder.close()
    shutil.copy(tmp_path / "older", tmp_path / "study" / DATABASE)
    with pytest.raises(StorageError, match="round 2 has asked questions, of which the database knows none"):
        open_folder(tmp_path / "study")
    assert any("must be restored" in said for said in read_arm(tmp_path / "study").damage)
    if then in ("answered", "closed"):
        assert len((tmp_path / "study" / "preferences.jsonl").read_text().splitlines()) == 6


def test_a_kill_between_a_choice_and_its_record_is_no_loss(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    small_study.finished(tmp_path, rounds=1)
    folder = open_folder(tmp_path)
    finish = folder.store.finish_stage

    def killed(stage: object, *rest: object) -> None:
        if rest and rest[0]:
            raise KeyboardInterrupt
        finish(stage)  # type: ignore[arg-type]

    monkeypatch.setattr(folder.store, "finish_stage", killed)
    with pytest.raises(KeyboardInterrupt):
        small_study.ask(folder, 2)
    assert (tmp_path / "rounds" / "002" / "selection.json").is_file()
    folder.close()
    again = open_folder(tmp_path)
    small_study.ask(again, 2)
    assert len(again.store.asked()) == 6
    again.close()


def test_beginning_anew_that_was_killed_while_it_deleted_is_no_loss(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = create_folder(tmp_path, small_study.RECIPE)
    small_study.close(folder, 0)

    def killed(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr("duelist.store.store.add_batch", lambda session, batch, prompts: batch and killed())
        small_study.ask(folder, 1)  # its choice lies there, and is not recorded
    folder.close()
    assert (tmp_path / "rounds" / "001" / "selection.json").is_file()

    whole = shutil.rmtree

    def deletes_one_file(path: Path) -> None:
        features = [*path.rglob("features.npz")]
        for file in features:
            file.unlink()
            killed()
        whole(path)

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(shutil, "rmtree", deletes_one_file)
        create_folder(tmp_path, OTHER)
    create_folder(tmp_path, OTHER).close()
    assert not (tmp_path / "rounds").exists() and not list(tmp_path.glob(".tmp-*"))


def test_a_study_without_its_rounds_or_with_less_beside_the_database_is_whole(tmp_path: Path) -> None:
    """Rounds may be deleted to save space; online, metrics.jsonl is behind the database."""
    small_study.finished(tmp_path)
    shutil.rmtree(tmp_path / "rounds")
    for name in ("metrics.jsonl", "preferences.jsonl"):
        (tmp_path / name).write_text("".join((tmp_path / name).read_text().splitlines(keepends=True)[:1]))
    folder = open_folder(tmp_path)
    assert len(folder.store.labels()) == 6
    folder.close()
