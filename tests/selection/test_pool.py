"""The pool of `duelist.select`: rows are not kept while features are computed, and are read again for the picks."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from duelist.errors import DataError
from duelist.models.policy.config import PolicyConfig
from duelist.models.policy.policy import Policy
from duelist.selection.pool import read_pairs, rereadable, rows_at

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
