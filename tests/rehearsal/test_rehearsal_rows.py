"""Preferences in every form that a team may have."""

from __future__ import annotations

import csv
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

import duelist.rehearsal.rows as rows_module
from duelist.errors import DataError
from duelist.rehearsal.rows import read_preferences
from duelist.store.export import csv_text, label_rows
from duelist.store.store import Store
from duelist.types import Label, Prompt
from made_by_hand import make_study, pairs_on


def written(path: Path, rows: list[dict[str, Any]]) -> str:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return str(path)


@pytest.fixture(autouse=True)
def few(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rows_module, "FEWEST", 2)


def test_trl_s_format_votes_labels_and_exports(tmp_path: Path) -> None:
    rows: list[dict[str, Any]] = [
        {"prompt": "p", "chosen": "good", "rejected": "bad"},
        {"prompt": "p", "chosen": "good", "rejected": "bad"},
        {"prompt": "p", "chosen": "bad", "rejected": "good"},
        {"prompt": "q", "response_a": "x", "response_b": "y", "label": "b"},
        {"prompt": "q", "response_a": "x", "response_b": "z", "n_a": 3, "n_b": 1, "n_eq": 1},
        {"prompt": "r", "response_a": "x", "response_b": "z", "labels": [{"outcome": "a"}, {"outcome": "skip"}]},
        {"prompt": "s", "response_a": "x", "response_b": "z", "label": "tie"},
        {"prompt": "s", "response_a": "x", "response_b": "q", "n_a": 2, "n_b": 1, "n_eq": 5},
        {"prompt": "s", "response_a": "x", "response_b": "x", "label": "a"},
        {"prompt": "s", "response_a": "x", "response_b": "y"},
        {"prompt": "s", "responses": ["x", "y", "z"], "ranking": [0, 1, 2]},
    ]
    found = read_preferences(written(tmp_path / "a.jsonl", rows))
    said = [(r["prompt"], r["response_a"], r["response_b"], r["n_a"], r["n_b"]) for r in found.rows]
    assert said == [
        ("p", "bad", "good", 1, 2),
        ("q", "x", "y", 0, 1),
        ("q", "x", "z", 3, 1),
        ("r", "x", "z", 1, 0),
    ]
    assert (found.undecided, found.single) == (2, 3) and found.pairs_of_prompt == [2, 1, 1]


def test_conversations_and_implicit_prompts(tmp_path: Path) -> None:
    user = {"role": "user", "content": "Hello?"}
    rows = [
        {
            "chosen": [user, {"role": "assistant", "content": t}],
            "rejected": [user, {"role": "assistant", "content": "-"}],
        }
        for t in ("one", "two")
    ] + [{"prompt": [{**user, "content": "Bye?"}], "chosen": "one", "rejected": "two"}]
    found = read_preferences(written(tmp_path / "a.jsonl", rows))
    assert [r["prompt"] for r in found.rows] == [[{**user, "content": "Bye?"}], [user], [user]]


def test_votes_of_one_pair_are_added_up_and_decided_once(tmp_path: Path) -> None:
    """Of three rows of a pair: 2 + 1 for a, 1 for b, and 5 + 1 for neither."""
    pair = {"prompt": "p", "response_a": "x", "response_b": "y"}
    turned = {"prompt": "p", "response_a": "y", "response_b": "x"}
    of_neither = [{**pair, "n_a": 2, "n_b": 0, "n_eq": 5}, {**turned, "label": "b"}, {**pair, "label": "both_bad"}]
    won = {**pair, "prompt": "q"}
    of_a = [{**won, "n_a": 2, "n_b": 1, "n_eq": 5}, {**won, "n_a": 6, "n_b": 0}, {**won, "label": "skip"}]
    others = [{"prompt": p, "chosen": "x", "rejected": "y"} for p in ("r", "s")]
    rows = [*of_neither, *of_a, *others]
    found = read_preferences(written(tmp_path / "a.jsonl", rows))
    assert [(r["prompt"], r["n_a"], r["n_b"]) for r in found.rows] == [("q", 8, 1), ("r", 1, 0), ("s", 1, 0)]
    assert found.undecided == 1
    assert read_preferences(written(tmp_path / "b.jsonl", rows[::-1])) == found  # whatever their order


def test_answers_that_repeat_the_prompt(tmp_path: Path) -> None:
    user, answer = {"role": "user", "content": "Hello?"}, {"role": "assistant", "content": "one"}
    other = {**answer, "content": "two"}
    plain = [{"prompt": "Hello?", "chosen": [user, answer], "rejected": [user, other]}] * 1
    rows = [*plain, {"prompt": "Bye?", "chosen": "one", "rejected": "two"}]
    found = read_preferences(written(tmp_path / "a.jsonl", rows))
    assert [(r["prompt"], r["response_a"], r["n_a"]) for r in found.rows] == [("Bye?", "one", 1), ("Hello?", "one", 1)]
    both = {**user, "content": "Bye?"}
    chats = [{"prompt": [q], "chosen": [q, answer], "rejected": [q, other]} for q in (user, both)]
    assert [r["response_b"] for r in read_preferences(written(tmp_path / "b.jsonl", chats)).rows] == ["two", "two"]
    with pytest.raises(DataError, match="give the answer alone, without the prompt's messages"):
        read_preferences(written(tmp_path / "c.jsonl", [{**plain[0], "prompt": "Something else?"}]))


def test_prompts_of_two_kinds_are_refused_with_their_line(tmp_path: Path) -> None:
    chat = [{"role": "user", "content": "Hello?"}]
    rows = [{"prompt": p, "chosen": "x", "rejected": "y"} for p in ("p", "q", chat)]
    with pytest.raises(DataError, match=r"line 3 of .*mixed.jsonl is a list of messages, and those before it are text"):
        read_preferences(written(tmp_path / "mixed.jsonl", rows))


def test_cells_of_a_csv_file_are_what_their_columns_hold(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    chat = '[{"role": "user", "content": "Hello?"}]'
    lines = [
        ["What is 2+2?", "4", "5"],
        ['"Quoted"', "[1, 2]", '{"a": 1}'],
        ["12", '"x"', "[]"],
    ]
    with (tmp_path / "Own.CSV").open("w", newline="") as file:
        csv.writer(file).writerows([["prompt", "chosen", "rejected"], *lines])
    found = read_preferences(str(tmp_path / "Own.CSV"))
    assert {(r["prompt"], *sorted((r["response_a"], r["response_b"]))) for r in found.rows} == {
        (p, *sorted((a, b))) for p, a, b in lines
    }
    with (tmp_path / "votes.csv").open("w", newline="") as file:  # as pandas writes counts beside missing values
        rows = [["x", "y", "3.0", "1.0", ""], ["x", "z", "0.0", "2.0", "1.0"]]
        csv.writer(file).writerows(
            [
                ["prompt", "response_a", "response_b", "n_a", "n_b", "n_eq"],
                *([c, *r] for r in rows for c in (chat, chat.replace("Hello", "Bye"))),
            ]
        )
    monkeypatch.setenv("HOME", str(tmp_path))
    found = read_preferences("~/votes.csv")
    assert sorted((r["n_a"], r["n_b"]) for r in found.rows) == [(0, 2), (0, 2), (3, 1), (3, 1)]
    assert all(r["prompt"][0]["role"] == "user" for r in found.rows)
    (tmp_path / "half.csv").write_text("prompt,response_a,response_b,n_a,n_b\np,x,y,1.5,1\n")
    with pytest.raises(DataError, match=r"counts of people.*1\.5"):
        read_preferences(str(tmp_path / "half.csv"))
    with pytest.raises(DataError, match=r"^Preferences are read from a file, but there is none at .*/none.csv"):
        read_preferences("~/none.csv")


def test_the_files_of_duelist_export(tmp_path: Path) -> None:
    prompts = [Prompt.of("One."), Prompt.of("Two.")]
    asked = [replace(x, position=2 * i + j) for i, p in enumerate(prompts) for j, x in enumerate(pairs_on(p, 2))]
    make_study(tmp_path / "study", asked, prompts)
    store = Store(tmp_path / "study")
    store.add_answers([Label(x.question.id, "ann", "a") for x in asked])
    written(tmp_path / "own.jsonl", list(label_rows(store)))
    (tmp_path / "own.csv").write_text(csv_text(store), encoding="utf-8")
    store.close()
    of_jsonl, of_csv = (read_preferences(str(tmp_path / f"own.{end}")) for end in ("jsonl", "csv"))
    assert len(of_jsonl.rows) == 4 and of_jsonl.rows == of_csv.rows
    assert all(r["n_a"] + r["n_b"] == 1 for r in of_csv.rows)


def test_what_is_no_preference_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"2 decided pairs on two prompts or more.* has 1 on 1"):
        read_preferences(written(tmp_path / "one.jsonl", [{"prompt": "p", "chosen": "a", "rejected": "b"}]))
    with pytest.raises(DataError, match="`prompt`"):
        read_preferences(written(tmp_path / "no.jsonl", [{"response_a": "a", "response_b": "b", "label": "a"}]))
    for votes in (3, "x", [1, 2]):
        row = {"prompt": "p", "response_a": "a", "response_b": "b", "votes": votes}
        with pytest.raises(DataError, match=r"`votes` must be an object.*line 1 of"):
            read_preferences(written(tmp_path / "v.jsonl", [row]))
    with pytest.raises(DataError, match="list of labels"):
        read_preferences(
            written(tmp_path / "l.jsonl", [{"prompt": "p", "response_a": "a", "response_b": "b", "labels": ["a"]}])
        )
