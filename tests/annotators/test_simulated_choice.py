"""Simulated answers to larger questions, against probabilities that the test computes by enumeration."""

from __future__ import annotations

import random
from collections import Counter
from dataclasses import replace
from itertools import permutations
from typing import Any

import numpy as np
import pytest
from scipy import stats

from duelist.annotators.base import label_id
from duelist.annotators.reward import RewardFunctionAnnotator, RewardFunctionConfig
from duelist.annotators.simulated_choice import SimulatedChoice
from duelist.progress import Silent
from duelist.types import Answer, Batch, Label, Prompt, Question, Response
from tiers import first_rows

PROMPT = Prompt.of("question")
POOL = [Response.of(PROMPT, f"text {n}", [1], [2 + n, 9], 1) for n in range(6)]
REWARDS = {r.id: value for r, value in zip(POOL, (0.0, 1.0, -0.5, 0.4, 2.0, -1.0), strict=True)}
DRAWS = 4000


def question(k: int, asks: Any) -> Question:
    return Question.of(POOL[:k], asks, 1)


def answers(asked: Question, temperature: float = 1.0, growth: float = 0.0, n: int = DRAWS) -> list[Any]:
    """Answers of so many annotators, each with a seed of its own."""
    choices = (SimulatedChoice("sim", seed, "bradley_terry", temperature, growth) for seed in range(n))
    return [choice.answer(asked, REWARDS) for choice in choices]


def agrees(counts: Counter[Any], probability: dict[Any, float]) -> bool:
    assert sum(probability.values()) == pytest.approx(1.0)
    assert set(counts) <= set(probability)
    n = sum(counts.values())
    rare = [x for x, p in probability.items() if n * p < 5]
    common = [x for x in probability if x not in rare]
    found = [counts[x] for x in common] + ([sum(counts[x] for x in rare)] if rare else [])
    expected = [n * probability[x] for x in common] + ([n * sum(probability[x] for x in rare)] if rare else [])
    return bool(stats.chisquare(found, expected, sum_check=False).pvalue > 1e-4)


def ranking_probability(k: int, temperature: float, growth: float) -> dict[tuple[str, ...], float]:
    found = {}
    for order in permutations([r.id for r in POOL[:k]]):
        p = 1.0
        for place in range(k):
            odds = np.exp([REWARDS[i] / (temperature * (1 + growth * place)) for i in order[place:]])
            p *= odds[0] / odds.sum()
        found[order] = float(p)
    return found


@pytest.mark.parametrize(
    ("k", "temperature", "growth"), first_rows(2, [(4, 0.7, 0.0), (3, 0.5, 2.0), (3, 1.0, 0.0), (4, 1.0, 0.5)])
)
def test_rankings_follow_plackett_and_luce(k: int, temperature: float, growth: float) -> None:
    found = answers(question(k, "ranking"), temperature, growth)
    counts = Counter(tuple(r for (r,) in answer.ranking) for answer in found)
    assert agrees(counts, ranking_probability(k, temperature, growth))
    # The test can tell: neither another temperature nor another growth would pass.
    assert not agrees(counts, ranking_probability(k, 1.5 * temperature, growth))
    assert not agrees(counts, ranking_probability(k, temperature, 0.0 if growth else 1.0))


@pytest.mark.parametrize(("k", "temperature"), [(3, 1.0), (6, 2.0)])
def test_the_best_follows_a_softmax_whatever_the_noise_further_down(k: int, temperature: float) -> None:
    odds = {r.id: float(np.exp(REWARDS[r.id] / temperature)) for r in POOL[:k]}
    counts = Counter(answer.best for answer in answers(question(k, "best_of_k"), temperature, growth=3.0))
    assert agrees(counts, {r: p / sum(odds.values()) for r, p in odds.items()})


@pytest.mark.parametrize(("k", "temperature"), [(3, 1.0), (4, 2.0)])
def test_the_best_and_the_worst_follow_a_softmax_over_ordered_pairs(k: int, temperature: float) -> None:
    ids = [r.id for r in POOL[:k]]
    odds = {(b, w): float(np.exp((REWARDS[b] - REWARDS[w]) / temperature)) for b, w in permutations(ids, 2)}
    counts = Counter((x.best, x.worst) for x in answers(question(k, "best_worst"), temperature, growth=3.0))
    assert agrees(counts, {pair: p / sum(odds.values()) for pair, p in odds.items()})


def test_a_pair_is_the_ranking_of_two() -> None:
    found = answers(question(2, "ranking"), 1.3)
    first = question(2, "ranking").a.id
    counts = Counter(first if x.outcome == "a" else POOL[1].id if first == POOL[0].id else POOL[0].id for x in found)
    assert {type(x) for x in found} == {Label}
    assert agrees(counts, {order[0]: p for order, p in ranking_probability(2, 1.3, 0.0).items()})


@pytest.mark.parametrize("asks", ["ranking", "best_of_k", "best_worst"])
@pytest.mark.parametrize("choice", ["hard", "bradley_terry"])
def test_the_order_of_the_responses_changes_no_answer(asks: Any, choice: Any) -> None:
    asked = question(5, asks)
    for seed in range(40):
        own = SimulatedChoice("sim", seed, choice, 2.0, 0.5)
        found = own.answer(asked, REWARDS)
        shown = replace(asked, responses=tuple(random.Random(seed).sample(asked.responses, 5)), round=7)
        assert own.answer(shown, REWARDS) == found
        assert found.id == label_id(seed, asked, "sim")


def test_noise_belongs_to_the_question() -> None:
    """Two questions about the same responses get separate draws, and so do two seeds."""
    seeds = range(200)
    first = [
        SimulatedChoice("s", n, "bradley_terry", 5.0).answer(question(4, "best_of_k"), REWARDS).best for n in seeds
    ]  # type: ignore[union-attr]
    of_five = [
        SimulatedChoice("s", n, "bradley_terry", 5.0).answer(question(5, "best_of_k"), REWARDS).best for n in seeds
    ]  # type: ignore[union-attr]
    assert len(set(first)) == 4
    assert sum(a == b for a, b in zip(first, of_five, strict=True)) < 100


def hard(asked: Question, *rewards: float) -> Any:
    by_id = dict(zip([r.id for r in POOL], rewards, strict=False))
    return SimulatedChoice("sim", 0, "hard", 1.0).answer(asked, by_id)


def test_hard_choices_follow_the_reward_and_tie_where_it_does() -> None:
    a, b, c, d = (r.id for r in POOL[:4])
    found = hard(question(4, "ranking"), 1.0, 3.0, 1.0, 2.0)
    assert found.ranking == ((b,), (d,), tuple(sorted((a, c))))
    assert hard(question(4, "ranking"), *[0.0] * 4).ranking == (tuple(sorted((a, b, c, d))),)
    assert hard(question(4, "best_of_k"), 1.0, 3.0, 1.0, 2.0).best == b
    assert hard(question(4, "best_of_k"), 3.0, 3.0, 1.0, 2.0).outcome == "skip"
    found = hard(question(4, "best_worst"), 1.0, 3.0, 1.5, 1.5)
    assert (found.best, found.worst, found.outcome) == (b, a, "decided")
    for tied in ((3.0, 3.0, 1.0, 2.0), (1.0, 3.0, 1.0, 2.0)):
        assert hard(question(4, "best_worst"), *tied).outcome == "skip"


def test_very_different_rewards_overflow_nothing() -> None:
    rewards = {r.id: 1e6 * n for n, r in enumerate(POOL)}
    ids = [r.id for r in POOL[:4]]
    for asks in ("ranking", "best_of_k", "best_worst"):
        found = SimulatedChoice("sim", 0, "bradley_terry", 1e-3).answer(question(4, asks), rewards)
        assert isinstance(found, Answer)
        best = found.groups[0][0] if found.groups else found.best
        assert best == ids[3] and found.worst in (None, ids[0])


def test_the_reward_function_answers_questions_of_every_type_in_any_batch(tmp_path: Any) -> None:
    (tmp_path / "rewards.py").write_text(
        "def score(prompts, completions, **_):\n    return [float(c.split()[-1]) for c in completions]\n"
    )
    config = RewardFunctionConfig(
        function=f"{tmp_path / 'rewards.py'}:score", choice="bradley_terry", temperature=2.0, place_noise=0.5
    )
    asked = [question(k, asks) for k in (2, 3, 5) for asks in ("ranking", "best_of_k", "best_worst")]
    asked = list({q.id: q for q in asked}.values())
    annotator = RewardFunctionAnnotator(config)

    def answer(questions: list[Question]) -> list[Any]:
        return annotator.annotate(Batch(1, tuple(questions), {PROMPT.id: PROMPT}, (), ""), 3, Silent())

    found = answer(asked)
    own = SimulatedChoice(f"reward_function:{config.function}", 3, "bradley_terry", 2.0, 0.5)
    assert found == [own.answer(q, {r.id: float(n) for n, r in enumerate(POOL)}) for q in asked]
    assert answer(asked[::-1])[::-1] == found == [x for q in asked for x in answer([q])]
    assert annotator.label_temperature == 2.0
