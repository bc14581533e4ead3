"""What the columns of a row mean: responses, prompts, and values as JSON."""

from __future__ import annotations

import datetime
import gzip
import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from duelist.data.rows import response_text, row_pair, row_prompt, row_responses
from duelist.data.sources import RowSource
from duelist.errors import DataError

USER = {"role": "user", "content": "hello"}
SAID = {"role": "assistant", "content": "hi"}
ROWS = [{"prompt": "one", "kind": 1}, {"prompt": "two", "kind": 2}]


def test_jsonl_gzip_and_parquet_hold_the_same_rows(tmp_path: Path) -> None:
    text = "".join(json.dumps(row) + "\n\n" for row in ROWS)  # empty lines are passed over
    (tmp_path / "d.jsonl").write_text(text)
    (tmp_path / "d.jsonl.gz").write_bytes(gzip.compress(text.encode()))
    pq.write_table(pa.Table.from_pylist(ROWS), tmp_path / "d.parquet")
    (tmp_path / "marked.jsonl").write_bytes(b"\xef\xbb\xbf" + text.replace("\n", "\r\n").encode())  # as Windows has it
    for name in ("d.jsonl", "d.jsonl.gz", "d.parquet", "marked.jsonl"):
        assert [row for _, row in RowSource(str(tmp_path / name))] == ROWS
    assert [where for where, _ in RowSource(str(tmp_path / "d.jsonl"))] == [
        f"line {n} of {tmp_path}/d.jsonl" for n in (1, 3)
    ]


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("d.jsonl", b'{"prompt": "x"}\n{"prompt": \n', "one JSON object, but line 2 of"),
        ("d.jsonl", b'["x"]\n', "line 1 of {path} holds a list"),
        ("d.jsonl", b'{"prompt": "\xff"}\n', "reading {path} failed"),
        ("d.jsonl.gz", b"not gzip", "reading {path} failed"),
        ("d.parquet", b"not parquet", "reading {path} failed"),
        ("d.csv", b"prompt\nx\n", "must end in .jsonl, .jsonl.gz, .parquet, but got {path}"),
    ],
)
def test_a_file_that_cannot_be_read_is_named(tmp_path: Path, name: str, content: bytes, said: str) -> None:
    path = tmp_path / name
    path.write_bytes(content)
    with pytest.raises(DataError) as caught:
        list(RowSource(str(path)))
    assert said.format(path=path) in str(caught.value)


@pytest.mark.parametrize("path", ["/nowhere/d.jsonl", "nowhere/d.parquet", "/nowhere"])
def test_a_file_that_is_not_there_is_not_looked_for_on_the_hub(path: str) -> None:
    with pytest.raises(DataError, match=r"no such file at .*nowhere.*: correct the path"):
        list(RowSource(path))


@pytest.mark.parametrize(
    ("row", "said"),
    [
        ({"text": "x"}, "must have a `prompt` (or `messages`), but row 7 has only text"),
        ({"prompt": None}, "row 7 has only no column"),
        ({"prompt": " "}, "Every prompt must hold text, but that of row 7 is empty"),
        ({"prompt": []}, "text or a list of messages"),
        ({"prompt": [{"role": "user"}]}, "text or a list of messages"),
        ({"prompt": ["hello"]}, "text or a list of messages"),
        ({"prompt": [USER, SAID]}, "ends with the role 'assistant': drop what comes after"),
        ({"prompt": [{"role": "user", "content": ""}]}, "the last message of row 7 is empty"),
        ({"chosen": "one", "rejected": "two"}, "begin with nothing in common: add a `prompt`"),
        ({"chosen": [USER, SAID], "rejected": "two"}, "begin with nothing in common"),
    ],
)
def test_a_prompt_that_is_none_is_refused_with_its_row(row: dict[str, Any], said: str) -> None:
    with pytest.raises(DataError) as caught:
        row_prompt(row, "row 7")
    assert said in str(caught.value)
    assert "row 7" in str(caught.value)


@pytest.mark.parametrize(
    ("row", "said"),
    [
        ({"chosen": "x", "rejected": None}, "A row with `chosen` must have `rejected` as well"),
        ({"response_b": "x"}, "A row with `response_a` must have `response_b` as well"),
        ({"responses": "two words"}, "`responses` must be a list"),
        ({"responses": ["x", ""]}, "Every response must hold text"),
        ({"response_a": [USER], "response_b": "x"}, "a list of one assistant message"),
        ({"response_a": 3, "response_b": "x"}, "a list of one assistant message"),
    ],
)
def test_a_response_that_is_none_is_refused_with_its_row(row: dict[str, Any], said: str) -> None:
    with pytest.raises(DataError) as caught:
        row_responses({"prompt": "p", **row}, "row 7")
    assert said in str(caught.value)
    assert "row 7" in str(caught.value)


def test_responses_come_chosen_first_whatever_their_form() -> None:
    assert row_responses({"prompt": "p", "rejected": "r", "chosen": [SAID]}, "") == ["hi", "r"]
    assert row_responses({"prompt": "p", "response_a": "x", "response_b": "y"}, "") == ["x", "y"]
    assert row_responses({"prompt": "p", "responses": ["x", [SAID], "z"]}, "") == ["x", "hi", "z"]
    assert row_responses({"prompt": "p"}, "") == row_pair({"prompt": "p", "responses": ["x", "y"]}, "") == []
    both = {"prompt": "p", "responses": ["x", "y", "z"], "response_a": "z", "response_b": "x"}
    assert (row_pair(both, ""), row_responses(both, "")) == (["z", "x"], ["x", "y", "z"])
    assert response_text(" kept as it is ", "") == " kept as it is "


def test_an_implicit_prompt_is_what_chosen_and_rejected_share() -> None:
    row = {"chosen": [USER, SAID], "rejected": [USER, {"role": "assistant", "content": "go away"}]}
    assert row_prompt(row, "").as_trl() == [USER]
    assert row_responses(row, "") == ["hi", "go away"]


def test_other_columns_go_along_as_json() -> None:
    row = {"prompt": "p", "chosen": "x", "rejected": "y", "kind": "k", "when": datetime.date(2026, 1, 31), "n": [1]}
    row |= {"none": float("nan")}
    columns = row_prompt(row, "").columns
    assert columns == {"kind": "k", "when": "2026-01-31", "n": [1], "none": None}
    assert json.loads(json.dumps(columns)) == columns


def test_a_conversation_is_a_prompt_up_to_the_user_s_last_message() -> None:
    asked = [{"role": "system", "content": "be brief"}, USER, SAID, USER]
    prompt = row_prompt({"messages": [*asked, SAID, SAID], "kind": 1}, "row 1")
    assert prompt == row_prompt({"prompt": asked, "kind": 1}, "row 1")
    assert row_responses({"messages": [*asked, SAID]}, "row 1") == []
    # A prompt of its own goes first.
    assert row_prompt({"prompt": "p", "messages": [USER]}, "row 1").messages[-1]["content"] == "p"


@pytest.mark.parametrize(
    ("messages", "said"),
    [
        ([SAID], "must hold a message of the user, but that of row 1 has none"),
        ([], "must hold a message of the user"),
        ("hello", "must be a list of messages with `role` and `content`, but that of row 1 is 'hello'"),
        ([{"from": "human"}], "must be a list of messages"),
    ],
)
def test_messages_that_are_no_prompt_are_refused(messages: Any, said: str) -> None:
    with pytest.raises(DataError, match=said):
        row_prompt({"messages": messages}, "row 1")
