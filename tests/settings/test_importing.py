"""Objects by dotted path or file, and the errors when there is none."""

from __future__ import annotations

import math
from pathlib import Path

import pytest

from duelist.errors import RecipeError
from duelist.settings.importing import import_object


def test_a_module_s_object() -> None:
    assert import_object("math:sqrt") is math.sqrt


def test_a_file_s_object_relative_to_a_folder(tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text("VALUE = 3\n")
    assert import_object("mine.py:VALUE", base=tmp_path) == 3
    assert import_object(f"{tmp_path}/mine.py:VALUE") == 3


def test_two_files_of_one_name_stay_apart(tmp_path: Path) -> None:
    for name in ("x", "y"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "mine.py").write_text(f"VALUE = {name!r}\n")
    assert [import_object(f"{tmp_path}/{n}/mine.py:VALUE") for n in ("x", "y")] == ["x", "y"]


@pytest.mark.parametrize(
    ("path", "said"),
    [
        ("math", "`package.module:Name` or `file.py:Name`, but got 'math'"),
        ("math:", "add the missing part"),
        (":sqrt", "add the missing part"),
        ("no_such_package.module:X", "Python finds no 'no_such_package': install its package"),
        ("duelist.no_such_module:X", "Python finds no 'duelist.no_such_module'"),
        ("math:sqr", "math has no 'sqr'. Did you mean 'sqrt'?"),
        ("/nowhere/mine.py:X", "A Python file must exist at /nowhere/mine.py, but there is none: correct the path"),
    ],
)
def test_what_is_not_there_is_named(path: str, said: str) -> None:
    with pytest.raises(RecipeError) as caught:
        import_object(path)
    assert said in str(caught.value)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("def broken(:\n", "SyntaxError"),
        ("import no_such_dependency\n", "ModuleNotFoundError: No module named 'no_such_dependency'"),
        ("1 / 0\n", "ZeroDivisionError"),
    ],
)
def test_a_file_that_fails_is_named_and_can_be_mended(tmp_path: Path, text: str, said: str) -> None:
    file = tmp_path / "mine.py"
    file.write_text(text)
    with pytest.raises(RecipeError) as caught:
        import_object(f"{file}:X")
    assert str(file) in str(caught.value) and said in str(caught.value) and "Fix it" in str(caught.value)
    file.write_text("X = 'fixed'\n")
    assert import_object(f"{file}:X") == "fixed"


def test_a_module_that_fails_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "half_installed.py").write_text("import no_such_dependency\n")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(RecipeError, match=r"half_installed must import without an error.*no_such_dependency"):
        import_object("half_installed:X")
