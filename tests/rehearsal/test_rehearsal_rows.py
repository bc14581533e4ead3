"""Preferences in every form that a team may have."""

from __future__ import annotations

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
    assert [r["prompt"] for r in found.rows] == [[user], [user], [{**user, "content": "Bye?"}]]


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
    with pytest.raises(DataError, match="list of labels"):
        read_preferences(
            written(tmp_path / "l.jsonl", [{"prompt": "p", "response_a": "a", "response_b": "b", "labels": ["a"]}])
        )
