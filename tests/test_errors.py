"""What becomes of an exception that a component raises."""

from __future__ import annotations

import asyncio
import errno
from pathlib import Path
from typing import Any

import pytest

from duelist.acquisition.random import Random
from duelist.errors import DataError, DuelistError, StorageError, full_disk_as_storage_error, user_code
from duelist.settings.importing import import_object


class Own:
    """Stands for a class of the user's."""


def own_function() -> None:
    raise KeyError("reason")


@pytest.mark.parametrize("error", [ValueError("why"), SystemExit(0), asyncio.CancelledError(), StopIteration()])
def test_what_a_class_of_the_user_s_raises_is_ours_and_says_where(error: BaseException) -> None:
    with (
        pytest.raises(
            DuelistError, match=rf"^Own must return.*{type(error).__name__}.*test_errors\.py, line \d+"
        ) as got,
        user_code(Own()),
    ):
        raise error
    assert got.value.__cause__ is error


def test_the_line_named_is_the_user_s_own(tmp_path: Path) -> None:
    (tmp_path / "own.py").write_text("import json\n\n\ndef parse():\n    json.loads('{')\n")
    parse: Any = import_object(f"{tmp_path}/own.py:parse")
    with pytest.raises(DuelistError, match=r"^parse must .*JSONDecodeError: .*own\.py, line 5\)"), user_code(parse):
        parse()
    with pytest.raises(DuelistError, match=r"^own_function must .*KeyError: 'reason'"), user_code(own_function):
        own_function()


@pytest.mark.parametrize("error", [KeyboardInterrupt(), DataError("said already")])
def test_ctrl_c_and_errors_of_ours_pass(error: BaseException) -> None:
    with pytest.raises(type(error)) as got, user_code(Own()):
        raise error
    assert got.value is error


def test_a_mistake_of_a_shipped_component_keeps_its_traceback_but_ends_no_process() -> None:
    with pytest.raises(ZeroDivisionError), user_code(Random()):
        raise ZeroDivisionError
    with pytest.raises(DuelistError, match=r"Random must .* raised SystemExit: 0"), user_code(Random()):
        raise SystemExit(0)


def test_a_full_disk_is_still_known_as_one() -> None:
    with pytest.raises(StorageError, match="the disk is full"), full_disk_as_storage_error("a test"), user_code(Own()):
        raise OSError(errno.ENOSPC, "No space left on device")
