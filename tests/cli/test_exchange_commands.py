"""`duelist export` for other tools, and `duelist import`: exit codes, and what is said of each row."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from cli_results import Command

import small_study
from duelist.cli.export import TOOLS
from duelist.exchange import formats
from duelist.exchange.tasks import tasks_of
from duelist.recipe.reading import parse_recipe
from duelist.recipe.recipe import recipe_content
from duelist.store.opening import create_folder, open_folder
from duelist.store.store import Store


@pytest.fixture
def study(tmp_path: Path) -> Path:
    """A study that has asked its first three pairs."""
    recipe = parse_recipe({**small_study.RECIPE, "prompts": {"path": "prompts.jsonl"}})
    folder = create_folder(tmp_path / "study", recipe_content(recipe))
    small_study.close(folder, 0)
    small_study.ask(folder, 1)
    folder.close()
    return tmp_path / "study"


def rows(study: Path) -> list[dict[str, Any]]:
    store = Store(study, migrate=False)
    found = [{"question_id": t.question.id, "annotator": "ann", "outcome": "a"} for t in tasks_of(store)]
    store.close()
    return found


def written(path: Path, content: list[dict[str, Any]]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in content), encoding="utf-8")
    return path


def test_the_tools_of_the_command_are_those_there_are() -> None:
    assert formats.TOOLS.keys() == set(TOOLS) and set(TOOLS) < formats.READERS.keys()


@pytest.mark.parametrize("tool", TOOLS)
def test_questions_for_a_tool(duelist: Command, study: Path, tool: str) -> None:
    done = duelist("export", study, "--format", tool, "-o", "out")
    assert done.code == 0 and done.out.startswith("3 questions written to out/")
    for name in done.out.removeprefix("3 questions written to ").replace("\n", "").split(", "):
        assert Path(name).is_file()
    assert duelist("import", study, written(Path("answers.jsonl"), rows(study)[:1]), "-q").code == 0
    assert duelist("export", study, "-f", tool, "-o", "rest").out.startswith("2 questions")
    assert duelist("export", study, "-f", tool, "-o", "all", "--every").out.startswith("3 questions")


def test_import_says_what_it_did(duelist: Command, study: Path) -> None:
    good, bad = rows(study)[:2], {"question_id": "0123456789abcdef", "annotator": "ann", "outcome": "a"}
    done = duelist("import", study, written(Path("good.jsonl"), good))
    assert (done.code, done.err) == (0, "")
    assert done.out == "2 answers recorded, 0 recorded before, 0 rows left out.\n"
    done = duelist("import", study, written(Path("mixed.jsonl"), [bad, *good, *rows(study)]))
    assert done.code == 1 and done.out == "1 answers recorded, 2 recorded before, 1 rows left out.\n"
    assert done.err.startswith("line 1 of mixed.jsonl: An answer must be to a question that this study asked, but")
    quiet = duelist("import", study, "mixed.jsonl", "--quiet")
    assert quiet.code == 1 and quiet.out == "" and quiet.err == done.err


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("gone.json", None, "there is none"),
        ("empty.jsonl", "", "at least one item"),
        ("broken.json", "{", "must hold JSON"),
        ("other.json", '[{"text": 1}]', "is none of them"),
        ("labels.txt", "x", "ends in .json"),
    ],
)
def test_a_file_that_is_no_export(duelist: Command, study: Path, name: str, content: str | None, message: str) -> None:
    if content is not None:
        Path(name).write_text(content)
    done = duelist("import", study, name)
    assert done.code == 2 and message in done.err
    assert duelist("import", study, name, "--format", "xml").code == 2


def test_a_folder_that_no_tool_wrote(duelist: Command, study: Path) -> None:
    done = duelist("import", study, study)
    assert done.code == 2 and "records.json" in done.err


def test_a_study_at_work_without_a_server_is_named(duelist: Command, study: Path) -> None:
    file = written(Path("answers.jsonl"), rows(study))
    folder = open_folder(study)
    try:
        done = duelist("import", study, file)
    finally:
        folder.close()
    assert done.code == 2 and "another process works on it" in done.err
