"""Gold questions from a file."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from duelist.errors import DataError
from duelist.web.gold_file import read_gold


def written(tmp_path: Path, *rows: dict[str, Any]) -> str:
    path = tmp_path / "gold.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return str(path)


def test_every_way_to_know_the_answer(tmp_path: Path) -> None:
    pair = {"prompt": "Two and two?", "response_a": "4", "response_b": "5"}
    found = read_gold(
        written(
            tmp_path,
            {"prompt": "Two and two?", "chosen": "4", "rejected": "5"},
            pair | {"label": "b"},
            pair | {"label": "tie"},
            {"prompt": [{"role": "user", "content": "Two?"}], "responses": ["3", "4", "5"], "best": 1},
        )
    )
    texts = [{r.id: r.text for r in g.item.responses} for g in found]
    assert [(g.item.asks, g.outcome) for g in found] == [
        ("pair", "prefer"),
        ("pair", "prefer"),
        ("pair", "tie"),
        ("best_of_k", "ranked"),
    ]
    assert texts[0][found[0].chosen] == "4" and texts[1][found[1].chosen] == "5" and texts[3][found[3].best] == "4"
    assert found[3].met_by({"outcome": "ranked", "best": found[3].best})
    assert not found[3].met_by({"outcome": "skip"})
    assert found[0].item.prompt[0].text == "Two and two?"


@pytest.mark.parametrize(
    ("row", "words"),
    [
        ({"response_a": "4", "response_b": "5"}, "known answer"),
        ({"response_a": "4", "response_b": "4", "label": "a"}, "different responses"),
        ({"responses": ["3", "4", "5"]}, "must have `best`"),
        ({"responses": ["3", "4", "5"], "best": 3}, "must have `best`"),
        ({}, "different responses"),
    ],
)
def test_rows_without_an_answer_are_refused(tmp_path: Path, row: dict[str, Any], words: str) -> None:
    with pytest.raises(DataError, match=words):
        read_gold(written(tmp_path, {"prompt": "Two and two?"} | row))
