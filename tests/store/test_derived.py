"""The files that users read have every label and every round, and come back when they are lost or changed."""

from __future__ import annotations

import os
import shutil
import sqlite3
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

import small_study
from duelist.errors import RoundStateError
from duelist.report.page import write_report
from duelist.report.status import status
from duelist.store.artifacts import read_jsonl
from duelist.store.layout import DATABASE
from duelist.store.opening import open_folder
from duelist.types import Label

DERIVED = ("metrics.jsonl", "preferences.jsonl", "adapter/weights.bin", "adapter/config.json")


def contents(path: Path) -> dict[str, bytes]:
    return {name: (path / name).read_bytes() for name in DERIVED}


def times(path: Path) -> dict[str, int]:
    return {name: (path / name).stat().st_mtime_ns for name in DERIVED}


def garble(name: str) -> Callable[[Path], None]:
    """Change a file's content, but neither its size nor its number of lines."""

    def change(path: Path) -> None:
        content = bytearray((path / name).read_bytes())
        content[5] ^= 1
        (path / name).write_bytes(content)

    return change


def double(path: Path) -> None:
    file = path / "preferences.jsonl"
    file.write_text(file.read_text() * 2)


CHANGES: dict[str, tuple[str, Callable[[Path], None]]] = {
    "metrics gone": ("metrics.jsonl is gone", lambda p: (p / "metrics.jsonl").unlink()),
    "metrics garbled": ("metrics.jsonl was changed", garble("metrics.jsonl")),
    "metrics empty": ("metrics.jsonl was changed", lambda p: (p / "metrics.jsonl").write_bytes(b"")),
    "metrics binary": ("metrics.jsonl was changed", lambda p: (p / "metrics.jsonl").write_bytes(b"\xff\n\xfe\n\xff\n")),
    "preferences gone": ("preferences.jsonl is gone", lambda p: (p / "preferences.jsonl").unlink()),
    "preferences garbled": ("preferences.jsonl was changed", garble("preferences.jsonl")),
    "preferences doubled": ("preferences.jsonl was changed", double),
    "weights gone": ("adapter is gone", lambda p: shutil.rmtree(p / "adapter")),
    "a weights file gone": ("adapter was changed", lambda p: (p / "adapter" / "config.json").unlink()),
    "weights garbled": ("adapter was changed", garble("adapter/weights.bin")),
}


@pytest.mark.parametrize("case", CHANGES)
def test_what_was_lost_or_changed_is_reported_by_readers_and_restored_by_opening(case: str, tmp_path: Path) -> None:
    said, change = CHANGES[case]
    small_study.finished(tmp_path)
    whole = contents(tmp_path)
    assert "damage" not in status(tmp_path)
    change(tmp_path)
    before = {p: p.read_bytes() for p in tmp_path.rglob("*") if p.is_file() and "study.db" not in p.name}
    assert [x.startswith(said) and "writes it again" in x for x in status(tmp_path)["damage"]] == [True]
    assert {p: p.read_bytes() for p in before} == before
    open_folder(tmp_path).close()
    assert contents(tmp_path) == whole
    assert "damage" not in status(tmp_path)


def test_the_report_says_what_is_damaged_and_restores_nothing(tmp_path: Path) -> None:
    small_study.finished(tmp_path)
    assert "Damage" not in write_report(tmp_path).read_text("utf-8")
    (tmp_path / "preferences.jsonl").unlink()
    assert "Damage: preferences.jsonl is gone" in write_report(tmp_path).read_text("utf-8")
    assert not (tmp_path / "preferences.jsonl").exists()


def test_opening_a_whole_study_writes_nothing(tmp_path: Path) -> None:
    small_study.finished(tmp_path)
    before = times(tmp_path)
    open_folder(tmp_path).close()
    assert times(tmp_path) == before
    os.utime(tmp_path / "adapter" / "weights.bin")  # as a copy without times
    assert "damage" not in status(tmp_path)
    before = times(tmp_path)
    open_folder(tmp_path).close()
    assert times(tmp_path) == before


def test_damaged_weights_of_a_round_are_not_copied_over_the_last_good_ones(tmp_path: Path) -> None:
    small_study.finished(tmp_path)
    whole = contents(tmp_path)
    garble("rounds/002/adapter/weights.bin")(tmp_path)
    assert [x.startswith("rounds/002/adapter was changed") for x in status(tmp_path)["damage"]] == [True]
    open_folder(tmp_path).close()
    assert contents(tmp_path) == whole


def test_labels_told_after_the_last_round_reach_preferences_when_the_study_is_closed_or_opened(tmp_path: Path) -> None:
    small_study.finished(tmp_path)
    folder = open_folder(tmp_path)
    pair = folder.store.asked()[0].question
    folder.store.add_answers([Label(pair.id, "bob", "b")])
    assert len(read_jsonl(tmp_path / "preferences.jsonl")) == 6  # not at every label
    assert "damage" not in status(tmp_path)  # behind is not damaged
    folder.close()
    assert len(read_jsonl(tmp_path / "preferences.jsonl")) == 7

    folder = open_folder(tmp_path)
    folder.store.add_answers([Label(pair.id, "ann", "b")])  # a changed mind: as many lines
    folder.store.close()  # as a kill leaves it
    folder._lock.release()
    unchanged = times(tmp_path)
    open_folder(tmp_path).close()
    chosen = [row["chosen"] for row in read_jsonl(tmp_path / "preferences.jsonl")]
    assert chosen.count(pair.b.text) == 2 and chosen.count(pair.a.text) == 0
    del unchanged["preferences.jsonl"]
    assert unchanged.items() <= times(tmp_path).items()  # nothing else was written again


def test_a_label_told_while_the_study_closes_is_in_the_preferences_or_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    small_study.finished(tmp_path)
    folder = open_folder(tmp_path)
    derive = folder._derive
    told: list[int] = []
    refused: list[RoundStateError] = []

    def tell() -> None:
        try:
            told.append(folder.store.add_answers([Label(small_study.pairs_of(1)[0].question.id, "late", "a")]))
        except RoundStateError as error:
            refused.append(error)

    teller = threading.Thread(target=tell)

    def derive_then_tell() -> None:
        derive()
        teller.start()
        teller.join(timeout=0.3)  # it waits until the study is closed

    monkeypatch.setattr(folder, "_derive", derive_then_tell)
    folder.close()
    teller.join()
    connection = sqlite3.connect(tmp_path / DATABASE)
    (recorded,) = connection.execute("SELECT COUNT(*) FROM answers").fetchone()
    connection.close()
    assert len((tmp_path / "preferences.jsonl").read_text().splitlines()) == recorded
    assert len(told) + len(refused) == 1
