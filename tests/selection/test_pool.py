"""The pool of `duelist.select`: rows are not kept while features are computed, and are read again for the picks."""

from __future__ import annotations

import gc
import json
from collections.abc import Iterator
from itertools import combinations
from pathlib import Path
from typing import Any

import pytest

from duelist.errors import DataError
from duelist.files import records
from duelist.models.policy.config import PolicyConfig
from duelist.models.policy.policy import Policy
from duelist.models.policy.tokenization import encode_responses
from duelist.selection.pool import PoolPair, read_pairs, rereadable, rows_at
from duelist.types import Prompt, Question, Response

ROWS = [
    {"prompt": f"w{i} ", "response_a": "w1 w2", "response_b": f"w3 w{i}", "embedding_a": [0.5] * 4, "note": i}
    for i in range(5)
]


@pytest.fixture(scope="module")
def policy(tiny_model: Path) -> Policy:
    return Policy.load(PolicyConfig(model=str(tiny_model)), 0)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "pool.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in ROWS), encoding="utf-8")
    return path


def generated() -> Iterator[dict[str, Any]]:
    yield from ROWS


@pytest.mark.parametrize("kind", ["file", "list", "generator", "dataset"])
def test_rows_are_read_again_in_the_order_of_the_picks(kind: str, policy: Policy, file: Path) -> None:
    import datasets

    made = {"file": lambda: file, "list": lambda: ROWS, "generator": generated}
    pool = rereadable(datasets.Dataset.from_list(ROWS) if kind == "dataset" else made[kind]())
    pairs = read_pairs(pool, policy, "the pool")
    assert [pair.row_number for pair in pairs] == [0, 1, 2, 3, 4]
    assert rows_at(pool, [pairs[3], pairs[0]], "the pool") == [ROWS[3], ROWS[0]]


def test_a_pair_keeps_neither_other_columns_nor_its_prompt_s_tokens_twice(policy: Policy, file: Path) -> None:
    pair = read_pairs(file, policy, "the pool")[2]
    assert not pair.prompt.columns and not hasattr(pair, "row")
    assert pair.pair.a.prompt_token_ids is pair.pair.b.prompt_token_ids


def test_a_pool_that_changes_meanwhile_is_refused(policy: Policy, file: Path) -> None:
    pairs = read_pairs(file, policy, "the pool")
    lines = file.read_text(encoding="utf-8").splitlines(keepends=True)
    for changed in (lines[1:], lines[:2]):
        file.write_text("".join(changed), encoding="utf-8")
        with pytest.raises(DataError, match="row 2 of the pool is not what it was"):
            rows_at(file, [pairs[2]], "the pool")


def eager(rows: list[dict[str, Any]], policy: Policy) -> list[PoolPair]:
    """The distinct pairs of all rows, with everything in memory."""
    found: dict[tuple[str, ...], PoolPair] = {}
    for number, row in enumerate(rows):
        prompt = Prompt.of(row["prompt"])
        texts = list(dict.fromkeys(row.get("responses") or [row["response_a"], row["response_b"]]))
        prompt_ids, ids = encode_responses(policy.tokenizer, prompt, texts)
        responses = [Response.of(prompt, text, prompt_ids, own, 0) for text, own in zip(texts, ids, strict=True)]
        for a, b in combinations(responses, 2):
            pair = PoolPair(Question.pair(a, b, 0), prompt, number)
            found.setdefault((prompt.id, *sorted((a.text, b.text))), pair)
    return list(found.values())


@pytest.mark.parametrize("in_memory", [1, 2**22])
def test_pairs_read_late_are_those_read_at_once(
    in_memory: int, policy: Policy, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(records, "IN_MEMORY", in_memory)
    words = ("w1", "w2 w3", "w4", "w5 w1")
    rows: list[dict[str, Any]] = [
        {"prompt": f"w{i % 4} ", "responses": [words[(i * k) % 4] for k in range(1, 2 + i % 3)] + ["w9", "w8"]}
        for i in range(9)
    ]
    rows += [{"prompt": "w2 ", "response_a": "w9", "response_b": "w7"}, rows[3]]
    expected = eager(rows, policy)
    found = read_pairs(rows, policy, "the pool")
    assert found == expected and len(expected) > len(rows)
    assert list(found.questions) == [x.pair for x in expected]
    assert list(found.ids) == [x.pair.id for x in expected]
    assert found.prompts == {x.prompt.id: x.prompt for x in expected}
    labelled = read_pairs(rows[:4], policy, "the labelled data")
    known = {frozenset((x.pair.a.text, x.pair.b.text)) | {x.prompt.id} for x in eager(rows[:4], policy)}
    left = [x for x in expected if frozenset((x.pair.a.text, x.pair.b.text)) | {x.prompt.id} not in known]
    assert found.without(labelled) == left and 0 < len(left) < len(expected)
    assert found.without(read_pairs([], policy, "nothing")) == expected


def test_no_pair_is_kept(policy: Policy) -> None:
    rows = [{"prompt": f"w{i} ", "response_a": "w1", "response_b": "w3 w4"} for i in range(200)]
    pairs = read_pairs(rows, policy, "the pool")
    assert pairs[199].row_number == 199
    gc.collect()
    assert sum(isinstance(x, Response | Question) for x in gc.get_objects()) < 20
