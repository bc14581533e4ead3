"""Records in a temporary file: read back as they were written, whether in memory or on the disk."""

from __future__ import annotations

import errno
import gc
import io
import os
import tempfile
from pathlib import Path
from typing import Any
from unittest import mock

import pytest
from hypothesis import given
from hypothesis import strategies as st

from duelist.errors import StorageError
from duelist.files import records
from duelist.files.records import Records
from duelist.types import Prompt

# Of each record: its length, and which earlier one is read after it, if any.
STEPS = st.lists(st.tuples(st.integers(0, 50), st.one_of(st.none(), st.integers(0, 99))), max_size=10)


@given(steps=STEPS, in_memory=st.sampled_from([1, 60, 2**22]))
def test_records_are_read_as_they_were_written(steps: list[tuple[int, int | None]], in_memory: int) -> None:
    found, written = Records[Any](), list[Any]()
    with mock.patch.object(records, "IN_MEMORY", in_memory):
        for length, earlier in steps:
            assert found.append((len(written), "x" * length)) == len(written)
            written.append((len(written), "x" * length))
            if earlier is not None:
                assert found[earlier % len(written)] == written[earlier % len(written)]
    assert len(found) == len(written)
    assert [found[i] for i in range(len(found))] == written
    with pytest.raises(IndexError):
        found[len(written)]


def test_a_record_is_a_new_object_of_its_own_type() -> None:
    prompts = Records[Prompt]()
    prompts.append(Prompt.of([{"role": "user", "content": "x"}], {"kind": 1}))
    assert prompts[0] == Prompt.of([{"role": "user", "content": "x"}], {"kind": 1})
    assert prompts[0] is not prompts[0]


def test_nothing_is_left_on_the_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    monkeypatch.setattr(records, "IN_MEMORY", 1)
    found = Records[str]()
    found.append("x" * 1000)
    assert found[0] == "x" * 1000
    del found
    assert not list(tmp_path.iterdir())


class FullDisk(io.RawIOBase):
    """A file that takes 10 bytes more, and then none."""

    def __init__(self) -> None:
        self.taken = 0

    def seek(self, place: int, whence: int = 0) -> int:
        return place

    def write(self, data: Any) -> int:
        if self.taken == 10:
            raise OSError(errno.ENOSPC, "No space left on device")
        self.taken = 10
        return 10


def test_a_full_disk_is_named_and_nothing_goes_wrong_later(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(records, "IN_MEMORY", 200)
    found, full = Records[str](), FullDisk()
    found.append("x" * 100)
    another = mock.patch.object(records, "TemporaryFile", lambda **_: full)
    with another, pytest.raises(StorageError, match="the folder of temporary files"):
        found.append("y" * 100)
    found._file = None  # another disk
    found.append("z")
    assert [found[i] for i in range(3)] == ["x" * 100, "y" * 100, "z"]
    del found
    gc.collect()
    assert full.closed  # and closing it wrote nothing: an error there would be reported


def test_an_unwritable_folder_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(records, "IN_MEMORY", 1)
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "missing"))
    with pytest.raises(StorageError, match="Set TMPDIR to a folder that can be written"):
        Records[str]().append("x")


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork on this system")
@pytest.mark.filterwarnings("ignore:.*use of fork:DeprecationWarning")
def test_a_forked_process_reads_without_disturbing_this_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(records, "IN_MEMORY", 1)
    found = Records[str]()
    for letter in "abcdef":
        found.append(letter * 3000)
    assert found[0] == "a" * 3000
    child = os.fork()
    if not child:
        os._exit(0 if found[5] == "f" * 3000 and found[1] == "b" * 3000 else 1)
    assert os.waitpid(child, 0)[1] == 0
    # A file with a buffer would have the beginning of one of them there, and would read on where the child did.
    assert [found[i] for i in range(6)] == [letter * 3000 for letter in "abcdef"]
    found.append("g" * 3000)
    assert [found[i] for i in range(7)] == [letter * 3000 for letter in "abcdefg"]
