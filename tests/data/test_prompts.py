"""Prompts of a data set: formats, held-out prompts, limits, disjoint parts, and bad rows."""

from __future__ import annotations

import gzip
import json
from itertools import chain
from pathlib import Path
from typing import Any

import pyarrow
import pyarrow.parquet
import pytest

from duelist.data.prompts import PromptsConfig, load_prompts, per_round_counts, prompts_of_round
from duelist.errors import DataError


def write(path: Path, rows: list[dict[str, Any]]) -> str:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return str(path)


@pytest.fixture
def hundred(tmp_path: Path) -> str:
    return write(tmp_path / "d.jsonl", [{"prompt": f"p{i}", "kind": i} for i in range(100)])


def texts(prompts: Any) -> list[str]:
    return [p.as_trl() for p in prompts]


def test_held_out_prompts_are_drawn_by_the_seed_and_not_trained_on(hundred: str) -> None:
    config = PromptsConfig(path=hundred, held_out=10)
    one, again, other = (load_prompts(config, seed) for seed in (0, 0, 1))
    assert one == again
    assert texts(one.held_out) != texts(other.held_out)
    assert sorted(texts(one.train) + texts(one.held_out)) == sorted(f"p{i}" for i in range(100))
    assert len(one.held_out) == 10


def test_adding_rows_changes_few_of_the_prompts_drawn(hundred: str, tmp_path: Path) -> None:
    more = write(tmp_path / "more.jsonl", [{"prompt": f"p{i}"} for i in range(105)])
    before = load_prompts(PromptsConfig(path=hundred, limit=40), 0).train
    after = load_prompts(PromptsConfig(path=more, limit=40), 0).train
    assert len(set(texts(before)) & set(texts(after))) >= 35


def test_the_prompts_of_a_round_are_drawn_anew(hundred: str) -> None:
    prompts = load_prompts(PromptsConfig(path=hundred), 0).train
    assert prompts_of_round(prompts, None, 0, 1) == prompts
    rounds = [texts(prompts_of_round(prompts, 20, 0, t)) for t in (1, 1, 2)]
    assert rounds[0] == rounds[1] != rounds[2]
    assert len(rounds[2]) == 20


def test_a_list_splits_the_prompts(hundred: str) -> None:
    config = PromptsConfig(path=hundred, held_out=10, per_round=(40, 30, 20))
    found = load_prompts(config, 0)
    parts = [texts(prompts_of_round(found.train, config.per_round, 0, t)) for t in (1, 2, 3)]
    assert [len(part) for part in parts] == [40, 30, 20]
    assert sorted(chain(*parts)) == sorted(texts(found.train))  # each prompt once
    order = texts(found.train)
    assert all(part == sorted(part, key=order.index) for part in parts)
    assert parts[1] == texts(prompts_of_round(found.train, (40, 30, 20), 0, 2))  # by the seed alone
    assert parts[1] != texts(prompts_of_round(found.train, (40, 30, 20), 1, 2))
    fewer = [texts(prompts_of_round(found.train, (5, 1, 7), 0, t)) for t in (1, 2, 3)]
    assert len(set(chain(*fewer))) == 13 and parts[0] != order[:40]
    assert per_round_counts((5, 1, 7), 3, 90) == (5, 1, 7)
    assert (per_round_counts(None, 2, 90), per_round_counts(4, 2, 90)) == ((90, 90), (4, 4))


def test_equal_prompts_are_one_and_pool_their_responses(tmp_path: Path) -> None:
    rows = [
        {"prompt": "p", "chosen": "x", "rejected": "y"},
        {"prompt": "q", "responses": ["x", "x", "z"]},
        {"prompt": "p", "chosen": "z", "rejected": "x"},
    ]
    found = load_prompts(PromptsConfig(path=write(tmp_path / "d.jsonl", rows)), 0)
    p, q = found.train
    assert found.given.texts == {p.id: ["x", "y", "z"], q.id: ["x", "z"]}
    assert found.given.pairs == {p.id: [("x", "y"), ("z", "x")]}


def test_a_held_out_file(tmp_path: Path, hundred: str) -> None:
    held_out = write(tmp_path / "h.jsonl", [{"prompt": f"h{i}"} for i in range(5)])
    assert texts(load_prompts(PromptsConfig(path=hundred, held_out_path=held_out), 0).held_out) == [
        f"h{i}" for i in range(5)
    ]
    assert len(load_prompts(PromptsConfig(path=hundred, held_out_path=held_out, held_out=2), 0).held_out) == 2
    shared = write(tmp_path / "s.jsonl", [{"prompt": "h0"}, {"prompt": "p3"}])
    with pytest.raises(DataError, match=r"must not be trained on, but 1 prompts of .*s\.jsonl stand in"):
        load_prompts(PromptsConfig(path=hundred, held_out_path=shared), 0)


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"held_out": 100}, "`held_out < prompts` must hold, but got held_out=100 and 100 prompts"),
        ({"held_out": 50, "per_round": [30, 21]}, "need 51 and there are 50: lower them"),
        ({"held_out": 50, "per_round": 51}, "`per_round <= prompts` must hold, but got per_round=51 and 50 prompts"),
    ],
)
def test_more_prompts_than_there_are(hundred: str, settings: dict[str, int], said: str) -> None:
    with pytest.raises(DataError, match=said):
        load_prompts(PromptsConfig(path=hundred, **settings), 0)


@pytest.mark.parametrize(
    ("rows", "said"),
    [
        ([], r"at least one prompt, but .*d\.jsonl has no rows"),
        ([{"prompt": "x"}, {"prompt": ""}], r"line 2 of .*d\.jsonl is empty"),
        (
            [{"prompt": "x"}, {"prompt": [{"role": "user", "content": "x"}]}],
            r"line 2 of .*d\.jsonl is messages and the first is plain text: write them all in one form",
        ),
    ],
)
def test_unusable_rows_are_named(tmp_path: Path, rows: list[dict[str, Any]], said: str) -> None:
    with pytest.raises(DataError, match=said):
        load_prompts(PromptsConfig(path=write(tmp_path / "d.jsonl", rows)), 0)


def line(prompt: Any, **columns: Any) -> str:
    return json.dumps({"prompt": prompt, **columns})


USER = {"role": "user", "content": "x"}


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[" * 100_000, r"line 2 of .* is not \(maximum recursion depth"),
        ('{"prompt": "x", "c": ' + "[" * 100_000 + "]" * 100_000 + "}", "line 2 of .* is not"),
        ('{"prompt": "x", "c": ' + "[" * 200 + "]" * 200 + "}", "nested 32 levels deep at most, but one of line 2"),
        ('{"prompt": "x", "n": ' + "9" * 5000 + "}", "line 2 of .* is not"),
        (line("\ud800"), "one of line 2 of .* has half a surrogate pair"),
        (line("x", kind="\ud800"), "one of line 2 of .* has half a surrogate pair"),
        (line("x", kind=[{"deep": "\udc00"}]), "one of line 2 of .* has half a surrogate pair"),
        (line("x", **{"\ud800": 1}), "one of line 2 of .* has half a surrogate pair"),
        (line([{"role": "\ud800", "content": "x"}, USER]), "one of line 2 of .* has half a surrogate pair"),
        (line([{**USER, "name": "\ud800"}]), "one of line 2 of .* has half a surrogate pair"),
        (line([{"role": "user", "content": [{"type": "text", "text": "\ud800"}]}]), "half a surrogate pair"),
        (line([{"role": "user", "content": 5}]), "list of messages"),
        (line([{"role": "user", "content": {"a": 1}}]), "list of messages"),
        (line("x", chosen="\ud800", rejected="y"), "one of line 2 of .* has half a surrogate pair"),
        (json.dumps({"chosen": 5, "rejected": 5}), "begin with nothing in common"),
        (json.dumps({"chosen": {"a": 1}, "rejected": {"a": 1}}), "begin with nothing in common"),
    ],
)
def test_hostile_rows_are_named(tmp_path: Path, text: str, said: str) -> None:
    first = line([USER] if '"role"' in text else "w")
    (tmp_path / "d.jsonl").write_text(f"{first}\n{text}\n")
    with pytest.raises(DataError, match=said):
        load_prompts(PromptsConfig(path=str(tmp_path / "d.jsonl")), 0)


@pytest.mark.parametrize("ending", [".jsonl.gz", ".parquet"])
def test_a_damaged_file_is_named(tmp_path: Path, ending: str) -> None:
    """Every byte of a small file in turn: it is read, or the error says that it cannot."""
    path, table = tmp_path / f"d{ending}", pyarrow.table({"prompt": [f"w{i}" for i in range(20)]})
    if ending == ".parquet":
        pyarrow.parquet.write_table(table, path)
    else:
        path.write_bytes(gzip.compress("".join(line(p) + "\n" for p in table["prompt"].to_pylist()).encode(), mtime=0))
    whole = path.read_bytes()
    refused = 0
    for i in range(len(whole)):
        path.write_bytes(whole[:i] + bytes([whole[i] ^ 0xFF]) + whole[i + 1 :])
        try:
            load_prompts(PromptsConfig(path=str(path)), 0)
        except DataError as error:
            refused += 1
            assert str(path) in str(error)
    assert refused > len(whole) / 4


def test_responses_that_nobody_uses_may_be_anything(tmp_path: Path) -> None:
    rows = [{"prompt": "a", "chosen": "b", "rejected": ""}, {"prompt": "c", "chosen": "d", "rejected": "e"}]
    path = write(tmp_path / "d.jsonl", rows)
    assert len(load_prompts(PromptsConfig(path=path), 0, responses=False).train) == 2
    with pytest.raises(DataError, match="line 1"):
        load_prompts(PromptsConfig(path=path), 0)
