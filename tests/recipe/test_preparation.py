"""Preparation of models and data: once, cached, whole or not at all."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from duelist.errors import RecipeError
from duelist.progress import Silent
from duelist.recipe.preparation import prepare, prepared_folder

COPY = """
from pathlib import Path


def copy(folder, data, word="a"):
    (folder / "out.txt").write_text(Path(data).read_text() + word)
"""


@pytest.fixture
def function(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A function that copies a file, beside the file `data.txt`; the current folder is empty."""
    (tmp_path / "own.py").write_text(COPY)
    (tmp_path / "data.txt").write_text("one ")
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    monkeypatch.setenv("DUELIST_CACHE", str(tmp_path / "cache"))
    return f"{tmp_path / 'own.py'}:copy"


def test_what_was_prepared_is_used_again(function: str, tmp_path: Path) -> None:
    settings = {"data": str(tmp_path / "data.txt")}
    folder = prepare(function, settings, Silent())
    assert (folder / "out.txt").read_text() == "one a"
    (folder / "out.txt").write_text("kept")
    assert prepare(function, settings, Silent()) == folder
    assert (folder / "out.txt").read_text() == "kept"


def test_other_data_of_the_same_size_is_prepared_anew(function: str, tmp_path: Path) -> None:
    settings = {"data": str(tmp_path / "data.txt")}
    first = prepare(function, settings, Silent())
    (tmp_path / "data.txt").write_text("two ")
    os.utime(tmp_path / "data.txt", ns=(0, 1))
    assert (prepare(function, settings, Silent()) / "out.txt").read_text() == "two a"
    assert (first / "out.txt").read_text() == "one a"


def test_a_word_is_no_path_whatever_lies_in_the_current_folder(function: str, tmp_path: Path) -> None:
    settings = {"data": str(tmp_path / "data.txt"), "word": "b"}
    before = prepared_folder(function, settings)
    Path("b").write_text("a file of that name")
    assert prepared_folder(function, settings) == before
    assert prepared_folder(function, {**settings, "word": ""}) != before


def test_settings_that_do_not_fit_leave_nothing_behind(function: str, tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match=r"must be arguments of .*copy, but got an unexpected keyword argument"):
        prepare(function, {"data": "x", "words": 1}, Silent())
    assert not (tmp_path / "cache").exists()


@pytest.mark.parametrize(
    "name", ["os:system", "shutil:rmtree", "subprocess:run", "builtins:exec", "math:pi", "os:environ"]
)
def test_what_is_not_written_to_fill_a_folder_is_not_called(name: str, tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match=f"must be a Python function that fills a folder, but {name} is"):
        prepare(name, {}, Silent())


def test_a_class_and_a_function_of_nothing_are_refused(function: str, tmp_path: Path) -> None:
    (tmp_path / "other.py").write_text("class Maker:\n    pass\n\n\ndef nothing():\n    pass\n")
    for name, said in (("Maker", "but .*Maker is a type"), ("nothing", "must be arguments of .*nothing, but too many")):
        with pytest.raises(RecipeError, match=said):
            prepare(f"{tmp_path}/other.py:{name}", {}, Silent())


def test_a_function_that_fails_leaves_no_folder(function: str, tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        prepare(function, {"data": str(tmp_path / "absent.txt")}, Silent())
    assert not any(entry.is_dir() for entry in (tmp_path / "cache").iterdir())
