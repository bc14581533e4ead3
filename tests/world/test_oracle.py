"""The reward of the synthetic environment."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from duelist.errors import DataError
from duelist.world import prepare, reward


def _rows(file: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in file.read_text().splitlines()]


def _world(folder: Path) -> dict[str, Any]:
    content: dict[str, Any] = json.loads((folder / "world.json").read_text())
    return content


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A world with three kinds; its model is not trained."""
    folder = tmp_path_factory.mktemp("world")
    prepare(folder, kinds=3, held_out=12, response_words=16, style_words=3, sft_steps=0)
    return folder


def test_reward_is_the_mean_utility(small: Path) -> None:
    world = _world(small)
    utility = {kind["word"]: dict(zip(world["words"], kind["utility"], strict=True)) for kind in world["kinds"]}
    rng = np.random.default_rng(0)
    prompts, completions, expected = [], [], []
    for row in _rows(small / "held_out.jsonl"):
        words = [str(w) for w in rng.choice([*world["words"], "unheard", "detail1", "kind0"], size=rng.integers(0, 8))]
        slots = [0.0] * max(4, len(words))
        for i, word in enumerate(words):
            if i < 4 and word in world["words"]:
                slots[i] = utility[row["prompt"][0]["content"].split()[0]][word]
        prompts.append(row["prompt"])
        completions.append([{"role": "assistant", "content": " ".join(words)}])
        expected.append(float(np.mean(slots)))
    # As TRL calls it: keywords, with columns and more besides.
    got = reward(prompts=prompts, completions=completions, world=small, kind=[0] * 12, completion_ids=[[1]] * 12)
    assert got == pytest.approx(expected)
    assert all(type(value) is float for value in got)
    plain = [p[0]["content"] for p in prompts]
    assert reward(plain, [c[0]["content"] for c in completions], world=str(small)) == got


def test_no_length_is_rewarded_for_itself(small: Path) -> None:
    rule = _world(small)["kinds"][0]
    best = max(zip(rule["utility"], _world(small)["words"], strict=True))
    texts = [" ".join([best[1]] * n) for n in range(12)]
    rewards = reward(["kind0 detail1 detail2 detail3"] * 12, texts, world=small)
    assert rewards[0] == 0
    assert rewards[4] == pytest.approx(best[0])
    assert max(rewards) == rewards[4]
    assert rewards[:5] == sorted(rewards[:5])
    assert rewards[4:] == sorted(rewards[4:], reverse=True)
    assert reward(["kind0"], ["\t nonsense <eos> \U0001f600"], world=small) == [0]
    assert reward([], [], world=small) == []


@pytest.mark.parametrize(
    "prompt",
    [
        "",
        "kind3 detail1",
        "detail1 kind0",
        [],
        [{"role": "user", "content": "hello"}],
        [{"role": "user", "content": None}],
        [{"role": "user", "content": "kind0"}, {"role": "assistant", "content": "kind0"}],
        ["kind0"],
    ],
)
def test_a_prompt_from_elsewhere_is_refused_and_named(small: Path, prompt: Any) -> None:
    with pytest.raises(DataError, match=r"begin with a kind's word \(kind0 to kind2\), but got") as error:
        reward(["kind0 detail1", prompt], ["word1", "word1"], world=small)
    assert repr(prompt) in str(error.value)


@pytest.mark.parametrize("completion", [[], [{"role": "user", "content": "word1"}], [{"role": "assistant"}] * 2])
def test_a_malformed_response_is_refused(small: Path, completion: Any) -> None:
    with pytest.raises(DataError, match="A response must be text or a list of one assistant message"):
        reward(["kind0"], [completion], world=small)


def test_prompts_and_responses_must_be_as_many(small: Path) -> None:
    with pytest.raises(DataError, match="1 prompts and 2 responses"):
        reward(["kind0"], ["word1", "word2"], world=small)


def test_a_world_that_changed_is_read_again(small: Path, tmp_path: Path) -> None:
    file = tmp_path / "world.json"
    with pytest.raises(DataError, match=r"must hold world\.json, but"):
        reward(["kind0"], ["word0"], world=tmp_path)
    file.write_text("{}")
    with pytest.raises(DataError, match="KeyError"):
        reward(["kind0"], ["word0"], world=tmp_path)
    for i, utility in enumerate((0.5, 0.75)):
        world = _world(small)
        world["kinds"][0]["utility"][0] = utility
        file.write_text(json.dumps(world))
        os.utime(file, ns=(0, 10**18 + i))
        assert reward(["kind0"], ["word0 word0 word0 word0"], world=tmp_path) == [utility]
