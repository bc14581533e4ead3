"""Files and folders are whole or not there, whatever fails while they are written."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from duelist.errors import DuelistError, StorageError
from duelist.files.atomic import atomic_path, discard_temporaries
from duelist.store.artifacts import copy_folder, digest, read_jsonl, write_jsonl


def write_file(path: Path, text: str) -> None:
    with atomic_path(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def write_folder(path: Path, text: str) -> None:
    with atomic_path(path) as temporary:
        temporary.mkdir()
        (temporary / "part").write_text(text, encoding="utf-8")


def content(path: Path) -> str | None:
    if not path.exists():
        return None
    return (path / "part" if path.is_dir() else path).read_text(encoding="utf-8")


@pytest.fixture(params=[write_file, write_folder], ids=["file", "folder"])
def write(request: pytest.FixtureRequest) -> Callable[[Path, str], None]:
    return request.param  # type: ignore[no-any-return]


def test_what_was_written_takes_the_place_of_what_was_there(write: Callable[[Path, str], None], tmp_path: Path) -> None:
    path = tmp_path / "new" / "artifact"
    for text in ("first", "second"):
        write(path, text)
        assert content(path) == text
    assert [p.name for p in path.parent.iterdir()] == ["artifact"]


STEPS: dict[str, list[tuple[object, str]]] = {
    "make a folder": [(Path, "mkdir")],
    "write": [(Path, "write_text")],
    "sync": [(os, "fsync")],
    "move": [(Path, "rename"), (Path, "replace")],
}


def fail_at(monkeypatch: pytest.MonkeyPatch, step: str, number: int) -> list[str]:
    """Let a step fail for want of space at its `number`-th call; the returned list grows with the calls."""
    calls: list[str] = []

    def failing(original: Callable[..., object]) -> Callable[..., object]:
        def call(*args: object, **kwargs: object) -> object:
            calls.append(step)
            if len(calls) == number:
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            return original(*args, **kwargs)

        return call

    for owner, name in STEPS[step]:
        monkeypatch.setattr(owner, name, failing(getattr(owner, name)))
    return calls


@pytest.mark.parametrize("before", [None, "first"])
@pytest.mark.parametrize("step", STEPS)
def test_a_full_disk_at_any_step_leaves_the_old_or_the_new_and_nothing_else(
    write: Callable[[Path, str], None], step: str, before: str | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    counted = tmp_path / "counted" / "artifact"
    if before is not None:
        write(counted, before)
    with monkeypatch.context() as patch:
        calls = fail_at(patch, step, 0)
        write(counted, "second")
    steps_needed = len(calls)
    assert steps_needed > 0
    for number in range(1, steps_needed + 1):
        path = tmp_path / str(number) / "artifact"
        if before is not None:
            write(path, before)
        with monkeypatch.context() as patch, pytest.raises(StorageError) as caught:
            fail_at(patch, step, number)
            write(path, "second")
        assert isinstance(caught.value, DuelistError)
        assert caught.value.errno == errno.ENOSPC
        for part in ("artifact in", "disk is full", "free some space"):
            assert part in str(caught.value)
        # The last sync is the parent folder's, after the move: the new artifact is there then, and whole.
        moved = step == "sync" and number == steps_needed
        assert content(path) == ("second" if moved else before)
        assert {p.name for p in tmp_path.glob(f"{number}/*")} <= {"artifact"}
        write(path, "third")
        assert content(path) == "third"


@pytest.mark.parametrize("error", [KeyboardInterrupt(), ValueError("not the disk")])
def test_other_exceptions_pass_unchanged_and_leave_nothing(error: BaseException, tmp_path: Path) -> None:
    write_folder(tmp_path / "artifact", "first")
    with pytest.raises(type(error)) as caught, atomic_path(tmp_path / "artifact") as temporary:
        temporary.mkdir()
        (temporary / "part").write_text("sec", encoding="utf-8")
        raise error
    assert caught.value is error
    assert content(tmp_path / "artifact") == "first"
    assert [p.name for p in tmp_path.iterdir()] == ["artifact"]


@pytest.mark.parametrize(
    "error",
    [
        OSError(errno.EDQUOT, os.strerror(errno.EDQUOT)),
        RuntimeError("Error while serializing: I/O error: No space left on device (os error 28)"),
        RuntimeError("database or disk is full"),
    ],
)
def test_a_full_disk_is_known_by_number_or_words_and_however_deep(error: Exception, tmp_path: Path) -> None:
    with pytest.raises(StorageError, match="free some space") as caught, atomic_path(tmp_path / "artifact"):
        try:
            raise error
        except Exception as cause:
            raise ValueError("saving failed") from cause
    assert isinstance(caught.value.__cause__, ValueError)


def test_an_interrupted_writer_is_cleaned_up_after(tmp_path: Path) -> None:
    (tmp_path / ".tmp-file").write_text("ha", encoding="utf-8")
    (tmp_path / ".tmp-folder").mkdir()
    (tmp_path / ".tmp-folder" / "part").write_text("ha", encoding="utf-8")
    others = tmp_path / "compare" / "other-study"
    others.mkdir(parents=True)
    (others / ".tmp-metrics.jsonl").write_text("another process writes this", encoding="utf-8")
    discard_temporaries(tmp_path)
    assert sorted(p.name for p in tmp_path.rglob("*")) == [".tmp-metrics.jsonl", "compare", "other-study"]


def test_a_copy_replaces_the_whole_folder(tmp_path: Path) -> None:
    write_folder(tmp_path / "source", "new")
    write_folder(tmp_path / "target", "old")
    (tmp_path / "target" / "only in the old").touch()
    copy_folder(tmp_path / "source", tmp_path / "target")
    assert digest(tmp_path / "target") == digest(tmp_path / "source")


def test_jsonl_round_trip_and_refusal_of_nan(tmp_path: Path) -> None:
    rows = [{"a": 1.5, "text": "é\u2028\n"}, {"a": None}]
    write_jsonl(tmp_path / "rows.jsonl", rows)
    assert read_jsonl(tmp_path / "rows.jsonl") == rows
    with pytest.raises(ValueError, match="JSON"):
        write_jsonl(tmp_path / "rows.jsonl", [{"a": float("nan")}])
    assert read_jsonl(tmp_path / "rows.jsonl") == rows


def test_digest_sees_every_byte_and_name(tmp_path: Path) -> None:
    write_folder(tmp_path / "folder", "text")
    seen = {digest(tmp_path / "folder")}
    (tmp_path / "folder" / "part").write_text("texT", encoding="utf-8")
    seen.add(digest(tmp_path / "folder"))
    (tmp_path / "folder" / "part").rename(tmp_path / "folder" / "other")
    seen.add(digest(tmp_path / "folder"))
    (tmp_path / "folder" / "empty").touch()
    seen.add(digest(tmp_path / "folder"))
    seen.add(digest(tmp_path / "folder" / "other"))
    assert len(seen) == 5
    assert digest(tmp_path / "folder") in seen
