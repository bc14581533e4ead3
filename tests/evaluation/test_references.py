"""Fixed outputs from a file: matched to the held-out prompts, whatever form the rows have."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from duelist.errors import DataError
from duelist.evaluation.references import reference_outputs
from duelist.types import Prompt

CONVERSATION = [
    {"role": "user", "content": "Hi."},
    {"role": "assistant", "content": "Hello."},
    {"role": "user", "content": "Why?"},
]
PROMPTS = [
    Prompt.of("Say one."),
    Prompt.of([{"role": "user", "content": "Say two."}]),
    Prompt.of(CONVERSATION),
]
ROWS: list[dict[str, Any]] = [
    {"instruction": "Say two.", "output": "two", "generator": "m"},
    {"prompt": [{"role": "user", "content": "Say one."}], "output": "one"},
    {"prompt": CONVERSATION, "output": ""},
    {"instruction": "Say three.", "output": "three"},
]


def written(folder: Path, rows: Any, name: str = "outputs.json") -> str:
    path = folder / name
    text = "".join(json.dumps(row) + "\n" for row in rows) if name.endswith(".jsonl") else json.dumps(rows)
    path.write_text(text, encoding="utf-8")
    return str(path)


@pytest.mark.parametrize("name", ["outputs.json", "outputs.jsonl"])
def test_outputs_are_matched_by_the_text_or_the_messages_of_the_prompt(name: str, tmp_path: Path) -> None:
    path = written(tmp_path, ROWS, name)
    assert reference_outputs(path, [*PROMPTS, PROMPTS[0]]) == ["one", "two", "", "one"]


def test_a_repeated_row_is_accepted_if_it_says_the_same(tmp_path: Path) -> None:
    assert reference_outputs(written(tmp_path, [*ROWS, ROWS[0]]), PROMPTS) == ["one", "two", ""]
    with pytest.raises(DataError, match=r"row 0 of .* and row 4 of .* have different ones.*drop one"):
        reference_outputs(written(tmp_path, [*ROWS, {**ROWS[0], "output": "2"}]), PROMPTS)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (ROWS[:1], r"none for 2 of 3 \(the first is \w+, 'Say one.'\): add rows with `prompt` \(or `instruction`\)"),
        ([{**ROWS[0], "output": 3}], "must be text, but that of row 0 .* is 3"),
        ([{"output": "x"}], "must have `prompt` or `instruction`.*row 0 of .* has None"),
        ({"instruction": "x"}, "must be a list of objects"),
        ([3], "must be a list of objects"),
    ],
)
def test_what_a_file_lacks_is_said_with_the_remedy(content: Any, words: str, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=words):
        reference_outputs(written(tmp_path, content), PROMPTS)


def test_a_file_must_be_there_and_be_readable(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"must be `initial` or a file, but nowhere\.jsonl is neither"):
        reference_outputs("nowhere.jsonl", PROMPTS)
    with pytest.raises(DataError, match="must be a readable JSON file"):
        reference_outputs(str(tmp_path / "missing.json"), PROMPTS)
    (tmp_path / "cut.json").write_text('[{"output": ')
    with pytest.raises(DataError, match="must be a readable JSON file"):
        reference_outputs(str(tmp_path / "cut.json"), PROMPTS)
