"""A study on storage that machines share: one owner, who is named; a dead one is replaced, a suspended one stops."""

from __future__ import annotations

import json
import os
import re
from pathlib import Path
from threading import Event
from typing import Any

import pytest
from filelock import FileLock

from duelist.errors import StudyLockedError
from duelist.store.lease import LEASE, OWNER, Lease, read_owner
from duelist.store.opening import create_folder, open_folder
from killing import PROCESSES

RECIPE: dict[str, Any] = {"name": "study"}


def taken_by_another_machine(folder: Path, seconds_ago: float) -> None:
    """Leave what a process on another machine leaves, whose last sign of life is so long ago."""
    owner = {"host": "gpu-7", "process": 41, "user": "ann", "since": "2026-01-02T03:04:05+00:00", "machine": "other"}
    (folder / OWNER).write_text(json.dumps({**owner, "token": "its"}), encoding="utf-8")
    then = (folder / OWNER).stat().st_mtime - seconds_ago
    os.utime(folder / OWNER, (then, then))


def test_a_living_owner_on_another_machine_is_named_and_a_dead_one_is_replaced(tmp_path: Path) -> None:
    create_folder(tmp_path, RECIPE).close()
    assert read_owner(tmp_path) is None
    taken_by_another_machine(tmp_path, LEASE - 10)
    before = (tmp_path / OWNER).read_bytes()
    named = re.escape("ann@gpu-7 (process 41, since 2026-01-02T03:04:05+00:00) works on")
    for opening in (open_folder, lambda path: create_folder(path, RECIPE)):
        with pytest.raises(StudyLockedError, match=rf"{named}.*(49|50|51) seconds ago.*again in 1\d seconds"):
            opening(tmp_path)
    assert (tmp_path / OWNER).read_bytes() == before
    taken_by_another_machine(tmp_path, LEASE + 1)
    folder = open_folder(tmp_path)
    owner = read_owner(tmp_path)
    assert owner is not None and owner["process"] == os.getpid()
    folder.close()
    assert read_owner(tmp_path) is None


def test_an_owner_that_was_taken_for_dead_writes_no_more(tmp_path: Path) -> None:
    folder = create_folder(tmp_path, RECIPE)
    folder.require_open()
    taken_by_another_machine(tmp_path, 0)
    with pytest.raises(StudyLockedError, match=r"ann@gpu-7.*has taken .* over: stop here"):
        folder.require_open()
    folder.close()
    owner = read_owner(tmp_path)
    assert owner is not None and owner["host"] == "gpu-7"  # what the other holds stays its own


def test_signs_of_life_are_given_until_the_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    lock = FileLock(tmp_path / ".lock", thread_local=False)
    lock.acquire()
    lease = Lease(tmp_path, lock, beat=0.01)
    path = tmp_path / OWNER
    os.utime(path, (0, 0))
    given, utime = Event(), os.utime

    def watched(*arguments: Any) -> None:
        utime(*arguments)
        given.set()

    monkeypatch.setattr(os, "utime", watched)
    assert given.wait(60)  # for the thread's next sign
    assert path.stat().st_mtime > 0
    lease.release()
    assert not path.exists() and not lease.is_locked
    lease.release()


def hold(folder: Path, connection: Any) -> None:
    create_folder(folder, RECIPE)
    connection.send("open")
    connection.recv()


def test_the_lease_of_a_killed_process_of_this_machine_ends_at_once(tmp_path: Path) -> None:
    here, there = PROCESSES.Pipe()
    process = PROCESSES.Process(target=hold, args=(tmp_path, there))
    process.start()
    assert here.recv() == "open"
    owner = read_owner(tmp_path)
    assert owner is not None and owner["process"] == process.pid
    with pytest.raises(StudyLockedError, match=rf"process {process.pid}, .* works on"):
        open_folder(tmp_path)
    process.kill()
    process.join()
    assert read_owner(tmp_path) == owner
    open_folder(tmp_path).close()
