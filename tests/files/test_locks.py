"""Locks on folders (files/locks.py)."""

from __future__ import annotations

from pathlib import Path
from threading import Thread

import pytest
from filelock import FileLock

from duelist.errors import StorageError, StudyLockedError
from duelist.files.locks import held


def test_a_lock_that_another_holds_is_not_waited_for(tmp_path: Path) -> None:
    in_use = StudyLockedError("another process works on it")
    with FileLock(tmp_path / "lock"), pytest.raises(StudyLockedError) as refused:
        held(tmp_path / "lock", "A study", in_use)
    assert refused.value is in_use


def test_a_lock_is_free_again_after_its_block_whatever_came_of_it(tmp_path: Path) -> None:
    with pytest.raises(ZeroDivisionError), held(tmp_path / "lock", "A study", StudyLockedError("")):
        raise ZeroDivisionError
    with held(tmp_path / "lock", "A study", StudyLockedError("")), pytest.raises(StudyLockedError):
        held(tmp_path / "lock", "A study", StudyLockedError(""))
    with FileLock(tmp_path / "lock", timeout=0):
        pass


def test_another_thread_may_release_the_lock(tmp_path: Path) -> None:
    lock = held(tmp_path / "lock", "A study", StudyLockedError("")).lock
    thread = Thread(target=lock.release)
    thread.start()
    thread.join()
    assert not lock.is_locked


def test_a_lock_that_cannot_be_made_is_a_storage_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("no folder")
    with pytest.raises(StorageError, match=r"A study must be writable, but .*file is not.* Fix"):
        held(tmp_path / "file" / "lock", "A study", StudyLockedError(""))
