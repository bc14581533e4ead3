"""Records in a temporary file: read back as they were written, whether in memory or on the disk."""

from __future__ import annotations

import errno
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
    with mock.patch.object(records, "IN_MEMORY", in_memory):
        found, written = Records[Any](), list[Any]()
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


def test_a_full_disk_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    found = Records[str]()

    def full(_: bytes) -> int:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(found._file, "write", full)
    with pytest.raises(StorageError, match="the folder of temporary files"):
        found.append("x")
