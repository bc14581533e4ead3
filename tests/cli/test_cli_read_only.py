"""A study that may not be written to can be read, to its last label."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from cli_results import Command

import small_study
from duelist.store.opening import open_folder
from duelist.types import Label


@pytest.fixture
def read_only(tmp_path: Path) -> Iterator[Path]:
    """A copy, on a read-only disk, of a study at work: its last labels are in study.db-wal only."""
    small_study.finished(tmp_path / "study")
    folder = open_folder(tmp_path / "study")
    folder.store.add_answers([Label(x.question.id, "eve", "b") for x in folder.store.asked()])
    place = tmp_path / "copy"
    shutil.copytree(tmp_path / "study", place, ignore=shutil.ignore_patterns("*-shm", ".lock"))
    folder.close()
    assert (place / "study.db-wal").stat().st_size > 0
    if os.geteuid():
        place.chmod(0o500)
        yield place
        place.chmod(0o700)
        return
    commands = [["mount", "--bind", str(place), str(place)], ["mount", "-o", "remount,bind,ro", str(place)]]
    if shutil.which("mount") is None or any(subprocess.run(c, capture_output=True).returncode for c in commands):
        pytest.skip("mounting a read-only disk is not permitted here")
    yield place
    subprocess.run(["umount", str(place)], check=True)


def test_status_export_and_report_read_a_study_on_a_read_only_disk(duelist: Command, read_only: Path) -> None:
    before = {p.name: p.read_bytes() for p in read_only.iterdir() if p.is_file()}
    state = json.loads(duelist("status", read_only, "--json").out)
    assert state["labels"] == 12 and state["rounds_closed"] == 2
    duelist("export", read_only, "-o", "labels.jsonl", "-f", "jsonl")
    rows = [json.loads(line) for line in Path("labels.jsonl").read_text().splitlines()]
    assert [[x["annotator"] for x in row["labels"]] for row in rows] == [["ann", "eve"]] * 6
    duelist("report", read_only, "-o", "page/report.html")
    assert "12 labels" in Path("page/report.html").read_text("utf-8")
    assert Path("page/reward_kl.csv").read_text().startswith("arm,round,labels")
    assert "Give another file" in duelist("report", read_only).error
    assert {p.name: p.read_bytes() for p in read_only.iterdir() if p.is_file()} == before


def test_a_report_may_be_written_elsewhere(duelist: Command, tmp_path: Path) -> None:
    small_study.finished(tmp_path / "study")
    duelist("report", tmp_path / "study", "--output", "mine.html")
    assert Path("mine.html").is_file() and not (tmp_path / "study" / "report.html").exists()
