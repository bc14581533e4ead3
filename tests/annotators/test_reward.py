"""Annotators that prefer the response of higher reward: hard, noisy, and the same when asked again."""

from __future__ import annotations

import dataclasses
import itertools
import math
import random
from pathlib import Path

import pytest

from duelist.annotators.base import Annotator
from duelist.annotators.reward import (
    RewardFunctionAnnotator,
    RewardFunctionConfig,
    RewardModelAnnotator,
    RewardModelAnnotatorConfig,
)
from duelist.progress import Silent
from duelist.types import Batch, Prompt, Question, Response

PROMPTS = [Prompt.of([{"role": "user", "content": f"w{i}"}]) for i in range(40)]


def batch_of(pairs: list[Question]) -> Batch:
    return Batch(1, tuple(pairs), {p.id: p for p in PROMPTS}, (0.0,) * len(pairs), "none")


def all_pairs(texts: list[str], prompts: int = 40) -> list[Question]:
    """Every pair of the texts, as responses to each of the first prompts."""
    answers = [[Response.of(p, t, [1], [2, i], 1) for i, t in enumerate(texts)] for p in PROMPTS[:prompts]]
    return [Question.pair(a, b, 1) for group in answers for a, b in itertools.combinations(group, 2)]


def winners(annotator: Annotator, pairs: list[Question], seed: int = 0) -> dict[str, str | None]:
    """The winning text of each pair, None where there is none; independent of what is called a and b."""
    by_id = {p.id: p for p in pairs}
    labels = annotator.annotate(batch_of(pairs), seed, Silent())
    assert [label.pair_id for label in labels] == [p.id for p in pairs]
    texts = {"a": lambda p: p.a.text, "b": lambda p: p.b.text, "tie": lambda p: None}
    return {label.pair_id: texts[label.outcome](by_id[label.pair_id]) for label in labels}


def turned(pairs: list[Question]) -> list[Question]:
    return [dataclasses.replace(p, responses=(p.b, p.a)) for p in pairs]


@pytest.fixture
def reward_model(tiny_reward_model: Path) -> str:
    return str(tiny_reward_model)


@pytest.fixture(scope="module")
def length_reward(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A reward function: half the number of words."""
    file = tmp_path_factory.mktemp("length-reward") / "length.py"
    file.write_text(
        "def score(completions, **_):\n    return [len(c[0]['content'].split()) / 2 for c in completions]\n"
    )
    return f"{file}:score"


def model_annotator(model: str, **settings: object) -> RewardModelAnnotator:
    return RewardModelAnnotator(
        RewardModelAnnotatorConfig.model_validate({"model": model, "device": "cpu", **settings})
    )


def function_annotator(function: str, **settings: object) -> RewardFunctionAnnotator:
    return RewardFunctionAnnotator(RewardFunctionConfig.model_validate({"function": function, **settings}))


def test_hard_choice_takes_the_model_s_higher_reward(reward_model: str) -> None:
    annotator = model_annotator(reward_model)
    pairs = all_pairs(["w1", "w2 w30", "w17 w5 w9"])
    found = winners(annotator, pairs)
    for pair in pairs:
        prompt = next(p for p in PROMPTS if p.id == pair.a.prompt_id)
        a, b = annotator.reward.score([prompt, prompt], [pair.a, pair.b])
        assert found[pair.id] == (pair.a.text if a > b else pair.b.text)
    assert len(set(found.values())) == 3
    assert winners(annotator, turned(pairs)) == found


def test_equal_rewards_stay_a_tie(length_reward: str) -> None:
    pairs = all_pairs(["w1 w2", "w3 w4", "w5"], prompts=2)
    found = winners(function_annotator(length_reward), pairs)
    expected = [None if len(p.a.text) == len(p.b.text) else max(p.a.text, p.b.text, key=len) for p in pairs]
    assert list(found.values()) == expected
    assert expected.count(None) == 2


@pytest.mark.parametrize("temperature", [0.5, 2.0])
def test_bradley_terry_s_frequency_is_sigma(length_reward: str, temperature: float) -> None:
    """Rewards 1.5 and 0.5: the longer wins with probability σ(1 / temperature)."""
    annotator = function_annotator(length_reward, choice="bradley_terry", temperature=temperature)
    pairs = all_pairs(["w1 w2 w3", "w4"])
    wins = [winner == "w1 w2 w3" for seed in range(50) for winner in winners(annotator, pairs, seed).values()]
    p = 1 / (1 + math.exp(-1 / temperature))
    assert abs(sum(wins) / len(wins) - p) < 4 * math.sqrt(p * (1 - p) / len(wins))


def test_bradley_terry_between_equals_is_a_fair_coin_not_a_tie(length_reward: str) -> None:
    annotator = function_annotator(length_reward, choice="bradley_terry")
    pairs = all_pairs(["w1", "w2"])
    found = [winner for seed in range(50) for winner in winners(annotator, pairs, seed).values()]
    assert set(found) == {"w1", "w2"}
    assert abs(found.count("w1") / len(found) - 0.5) < 4 * 0.5 / math.sqrt(len(found))


def test_bradley_terry_noise_belongs_to_the_pair(reward_model: str) -> None:
    """The same answer in any order, batch or orientation, and another with another seed."""
    annotator = model_annotator(reward_model, choice="bradley_terry", temperature=5.0)
    pairs = all_pairs(["w1", "w2 w30", "w17 w5 w9"])
    found = winners(annotator, pairs)
    shuffled = random.Random(0).sample(pairs, len(pairs))
    assert winners(annotator, shuffled) == found
    assert winners(annotator, turned(shuffled)) == found
    one_by_one = {k: v for pair in turned(pairs)[:10] for k, v in winners(annotator, [pair]).items()}
    assert one_by_one == {k: found[k] for k in one_by_one}
    assert winners(annotator, pairs, seed=1) != found
    assert winners(model_annotator(reward_model), pairs) != found


def test_two_studies_of_a_seed_are_told_the_same_of_the_same_pair(length_reward: str) -> None:
    """One asks a pair in round 1 among all, the other has drawn the same responses anew in round 5, and asks few."""
    annotator = function_annotator(length_reward, choice="bradley_terry", temperature=5.0)
    pairs = all_pairs(["w1", "w2 w30"])
    found = winners(annotator, pairs)
    assert set(found.values()) == {"w1", "w2 w30"}  # at this temperature the noise decides

    def anew(r: Response) -> Response:
        return dataclasses.replace(r, round=5)

    later = [Question.pair(anew(p.b), anew(p.a), 5) for p in pairs[::3]]
    assert winners(annotator, later) == {p.id: found[p.id] for p in later}
    assert len({winners(annotator, later, seed)[later[0].id] for seed in range(20)}) == 2


def test_very_different_rewards_overflow_nothing(length_reward: str) -> None:
    annotator = function_annotator(length_reward, choice="bradley_terry", temperature=1e-6)
    pairs = all_pairs(["w1 w2 w3", "w4"])
    assert set(winners(annotator, pairs).values()) == {"w1 w2 w3"}


def test_the_annotator_is_noted(reward_model: str, length_reward: str) -> None:
    pairs = all_pairs(["w1", "w2 w3"], prompts=1)
    for annotator, name in (
        (model_annotator(reward_model), f"reward_model:{Path(reward_model).name}"),
        (function_annotator(length_reward), f"reward_function:{length_reward}"),
    ):
        assert annotator.annotate(batch_of(pairs), 0, Silent())[0].annotator == name


def test_an_annotator_that_is_asked_again_gives_the_very_same_labels(tmp_path: Path) -> None:
    """After a kill, say: told again they are passed over. Another seed, pair or annotator is another act."""
    (tmp_path / "lengths.py").write_text(
        "def score(prompts, completions, **_):\n    return [len(str(c)) for c in completions]\n"
        "def other(prompts, completions, **_):\n    return [1.0 for c in completions]\n"
    )
    pairs = all_pairs(["w1", "w1 w2", "w1 w2 w3"], prompts=2)

    def ids(name: str, seed: int) -> list[str]:
        annotator = RewardFunctionAnnotator(RewardFunctionConfig(function=f"{tmp_path / 'lengths.py'}:{name}"))
        labels = annotator.annotate(batch_of(pairs), seed, Silent())
        assert annotator.annotate(batch_of(pairs[::-1]), seed, Silent())[::-1] == labels
        return [label.id for label in labels]

    every = ids("score", 0) + ids("score", 1) + ids("other", 0)
    assert len(set(every)) == len(every) == 3 * len(pairs)
