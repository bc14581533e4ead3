"""Prompts that are read when they are asked for: equal to those of lists and dictionaries, and not kept."""

from __future__ import annotations

import gc
import json
import pickle
import weakref
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any
from unittest import mock

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from duelist.data.prompts import PromptsConfig, PromptSet, load_prompts, prompts_of_round
from duelist.data.stored_prompts import first_found, prompts_by_id
from duelist.files import records
from duelist.seeding import generator, hash_keys
from duelist.types import GivenResponses, Prompt

RESPONSES = st.one_of(
    st.just({}),
    st.fixed_dictionaries({"chosen": st.sampled_from("xyz"), "rejected": st.sampled_from("xyz")}),
    st.fixed_dictionaries({"responses": st.lists(st.sampled_from("xyz"), max_size=4)}),
)
ROWS = st.lists(st.tuples(st.integers(0, 6), RESPONSES), min_size=4, max_size=14)


def drawn(prompts: list[Prompt], n: int, seed: int, purpose: str) -> list[Prompt]:
    keys = hash_keys(generator(seed, "prompts", purpose), [p.id for p in prompts])
    return [prompts[i] for i in sorted(keys.argsort()[:n].tolist())]


def eager(rows: list[dict[str, Any]], config: PromptsConfig, seed: int) -> tuple[list[Prompt], list[Prompt], Any]:
    """Prompts to train on and held out, and given responses, from all rows at once."""
    prompts: dict[str, Prompt] = {}
    texts: dict[str, list[str]] = {}
    pairs: dict[str, list[tuple[str, str]]] = {}
    for row in rows:
        prompt = Prompt.of(row["prompt"], {"note": row["note"]})
        prompts.setdefault(prompt.id, prompt)
        own = row.get("responses") or [row[k] for k in ("chosen", "rejected") if k in row]
        for text in own:
            if text not in texts.setdefault(prompt.id, []):
                texts[prompt.id].append(text)
        texts.setdefault(prompt.id, [])
        if len(own) == 2 and own[0] != own[1]:
            pairs.setdefault(prompt.id, []).append((own[0], own[1]))
    held_out = drawn(list(prompts.values()), config.held_out, seed, "held-out")
    train = [p for p in prompts.values() if p not in held_out]
    if config.limit is not None and config.limit < len(train):
        train = drawn(train, config.limit, seed, "limit")
    return train, held_out, GivenResponses(texts, pairs)


@given(rows=ROWS, held_out=st.integers(0, 1), limit=st.sampled_from([None, 1, 2]), seed=st.integers(0, 3))
@pytest.mark.parametrize("in_memory", [1, 2**22])
def test_what_is_read_late_is_what_is_read_at_once(
    in_memory: int, rows: list[tuple[int, dict[str, Any]]], held_out: int, limit: int | None, seed: int
) -> None:
    written = [{"prompt": f"p{i}", "note": n, **more} for n, (i, more) in enumerate(rows)]
    held_out = min(held_out, len({i for i, _ in rows}) - 1)
    with TemporaryDirectory() as folder, mock.patch.object(records, "IN_MEMORY", in_memory):
        path = Path(folder) / "d.jsonl"
        path.write_text("".join(json.dumps(row) + "\n" for row in written))
        config = PromptsConfig(path=str(path), held_out=held_out, limit=limit)
        found = load_prompts(config, seed)
    train, aside, given = eager(written, config, seed)
    assert (found.train, found.held_out, found.given) == (train, tuple(aside), given)
    assert found.by_id == {p.id: p for p in train} == prompts_by_id(tuple(train))
    plain = PromptSet(tuple(train), tuple(aside), given)
    for own, its in zip(found.given_counts, plain.given_counts, strict=True):
        assert own.tolist() == its.tolist()
    assert plain.given_counts[0].tolist() == [len(given.texts[p.id]) for p in train]
    for per_round in (None, 1, (1,)):
        assert prompts_of_round(found.train, per_round, seed, 1) == prompts_of_round(plain.train, per_round, seed, 1)


@pytest.mark.parametrize("responses", [False, True])
def test_no_prompt_is_kept(responses: bool, tmp_path: Path) -> None:
    path = tmp_path / "d.jsonl"
    path.write_text("".join(json.dumps({"prompt": f"p{i}", "responses": ["x", "y"]}) + "\n" for i in range(300)))
    found = load_prompts(PromptsConfig(path=str(path), held_out=3), 0, responses=responses)
    assert len(found.train) == 297
    of_round = prompts_of_round(found.train, 10, 0, 1)
    assert [found.by_id[p.id] for p in of_round] == list(of_round)
    gc.collect()
    assert sum(isinstance(x, Prompt) for x in gc.get_objects()) < 20
    assert found.given.texts.get(of_round[0].id) == (["x", "y"] if responses else None)


def test_of_several_places_the_first_counts() -> None:
    one, other = Prompt.of("p", {"from": 1}), Prompt.of("p", {"from": 2})
    found = first_found({one.id: one}, {other.id: other, "q": other})
    assert found[one.id] is one and found["q"] is other and found.get("r") is None


def test_positions_and_masks_choose_the_same(tmp_path: Path) -> None:
    path = tmp_path / "d.jsonl"
    path.write_text("".join(json.dumps({"prompt": f"p{i}"}) + "\n" for i in range(5)))
    train: Any = load_prompts(PromptsConfig(path=str(path)), 0).train
    assert train.some(np.array([1, 4])) == [train[1], train[4]] == train.some(np.arange(5) % 3 == 1)
    assert list(train.ids) == [p.id for p in train]


def test_other_processes_get_tuples_and_dictionaries(tmp_path: Path) -> None:
    path = tmp_path / "d.jsonl"
    path.write_text("".join(json.dumps({"prompt": f"p{i}", "chosen": "x", "rejected": "y"}) + "\n" for i in range(5)))
    found = load_prompts(PromptsConfig(path=str(path), held_out=1), 0)
    for lazy, kind in ((found.train, tuple), (found.by_id, dict), (found.given.texts, dict), (found.given.pairs, dict)):
        copied = pickle.loads(pickle.dumps(lazy))
        assert isinstance(copied, kind) and copied == lazy and len(copied) == len(lazy) > 0
    assert pickle.loads(pickle.dumps(first_found(found.by_id)))[found.train[0].id] == found.train[0]


def test_a_prompt_that_is_in_use_is_not_held_twice(tmp_path: Path) -> None:
    path = tmp_path / "d.jsonl"
    path.write_text("".join(json.dumps({"prompt": f"p{i}"}) + "\n" for i in range(5)))
    train = load_prompts(PromptsConfig(path=str(path)), 0).train
    of_responses = [prompts_by_id(train)[prompt_id] for prompt_id in [train[1].id] * 3]
    assert len({id(prompt) for prompt in of_responses}) == 1 and of_responses[0] == train[1]


def test_the_file_is_closed_with_the_last_use(tmp_path: Path) -> None:
    path = tmp_path / "d.jsonl"
    path.write_text('{"prompt": "p"}\n')
    train: Any = load_prompts(PromptsConfig(path=str(path)), 0).train
    kept = weakref.ref(train._records)
    assert len(train.by_id) == 1 and train[0].id in train.by_id
    gc.disable()
    try:
        del train
        assert kept() is None  # no cycle holds it until the garbage collector runs
    finally:
        gc.enable()
