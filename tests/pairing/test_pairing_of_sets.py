"""Questions of three or more responses to a prompt: all of them or a uniform part, whatever the order of the draws."""

from __future__ import annotations

import random
from collections import Counter
from dataclasses import fields
from itertools import combinations
from math import comb
from typing import Any

import pytest
from pydantic import ValidationError
from scipy import stats

from duelist.errors import RecipeError
from duelist.pairing.base import PoolSize
from duelist.pairing.in_prompt import InPrompt, InPromptConfig
from duelist.settings.context import Context
from duelist.types import Draws, GivenResponses, Prompt, Question, Response

PROMPTS = [Prompt.of(f"question {i}") for i in range(2)]
NOTHING = GivenResponses({}, {})


def responses(m: int, prompt: Prompt = PROMPTS[0]) -> list[Response]:
    return [Response.of(prompt, f"text {n}", [1], [2 + n, 9], 1) for n in range(m)]


def sets(pool: list[Response], round: int = 1, seed: int = 0, **config: Any) -> list[Question]:
    return InPrompt(InPromptConfig(**config)).pairs(Draws(tuple(pool)), NOTHING, round, seed)


def members(questions: list[Question]) -> list[frozenset[str]]:
    return [frozenset(r.id for r in q.responses) for q in questions]


@pytest.mark.parametrize("short", ["smaller", "none"])
@pytest.mark.parametrize("k", range(2, 7))
@pytest.mark.parametrize("m", range(1, 8))
def test_all_sets_of_k_of_the_m_responses(m: int, k: int, short: Any) -> None:
    pool = [*responses(m), *responses(m, PROMPTS[1])]
    found = sets(pool, sets_of=k, short_sets=short)
    size = k if m >= k else (m if short == "smaller" and m > 1 else 0)
    expected = [
        frozenset(r.id for r in own) for p in (pool[:m], pool[m:]) for own in (combinations(p, size) if size else ())
    ]
    assert Counter(members(found)) == Counter(expected)
    assert {q.asks for q in found} <= {"pair" if size == 2 else "ranking"}
    pairing = InPrompt(InPromptConfig(sets_of=k, short_sets=short))
    assert pairing.sets_of == k
    assert pairing.most_pairs(PoolSize([m, m], None, None)) == len(found)
    for wanted in (1, 3, 40):
        drawn = sets(pool, sets_of=k, short_sets=short, per_prompt=wanted)
        most = InPrompt(InPromptConfig(sets_of=k, short_sets=short, per_prompt=wanted))
        assert len(drawn) == len({q.id for q in drawn}) == most.most_pairs(PoolSize([m, m], None, None))
        assert set(members(drawn)) <= set(expected)


def test_an_unknown_pool_has_an_unknown_size() -> None:
    assert InPrompt(InPromptConfig(sets_of=3)).most_pairs(PoolSize(None, None, None)) is None


@pytest.mark.parametrize("asks", ["ranking", "best_of_k", "best_worst"])
def test_what_is_asked_of_sets_and_of_what_is_left_when_there_are_too_few(asks: Any) -> None:
    found = sets([*responses(5), *responses(2, PROMPTS[1])], sets_of=4, asks=asks)
    assert Counter(q.asks for q in found) == {asks: 5, "pair": 1}


def test_equal_texts_are_one_response_whichever_was_drawn_first() -> None:
    pool = responses(4)
    twin = Response.of(PROMPTS[0], "text 0", [1], [70, 71], 1)
    found = sets([*pool, twin], sets_of=3)
    assert len(found) == comb(4, 3)
    assert all(len({r.text for r in q.responses}) == 3 for q in found)
    assert {q.id for q in sets([twin, *pool[::-1]], sets_of=3)} == {q.id for q in found}
    assert members(sets([pool[0], twin, pool[1]], sets_of=3)) == [frozenset({min(pool[0].id, twin.id), pool[1].id})]
    assert sets([pool[0], twin, pool[1]], sets_of=3, short_sets="none") == []
    assert sets([pool[0], twin], sets_of=3) == []


@pytest.mark.parametrize(("m", "k", "wanted"), [(5, 3, 4), (6, 3, 2), (4, 2, 2), (7, 5, 3)])
def test_a_part_of_the_sets_is_drawn_uniformly(m: int, k: int, wanted: int) -> None:
    """By both ways of drawing: from the list of all sets, and without it."""
    pool, counts, together = responses(m), Counter[frozenset[str]](), Counter[frozenset[Any]]()
    for seed in range(1500):
        drawn = members(sets(pool, seed=seed, sets_of=k, per_prompt=wanted))
        assert len(set(drawn)) == wanted
        counts.update(drawn)
        together[frozenset(drawn[:2])] += 1
    assert len(counts) == comb(m, k)
    # Draws without replacement vary less than multinomial ones by the factor (1 − wanted/total)·total/(total − 1).
    total = comb(m, k)
    factor = (1 - wanted / total) * total / (total - 1)
    expected = 1500 * wanted / total
    statistic = sum((n - expected) ** 2 / expected for n in counts.values()) / factor
    assert 1e-4 < stats.chi2.sf(statistic, total - 1) < 1 - 1e-4


def test_the_draw_depends_on_seed_round_and_prompt_and_not_on_the_order_of_the_responses() -> None:
    pool = [*responses(9), *responses(9, PROMPTS[1])]
    for wanted in (5, 60):
        config = {"sets_of": 4, "per_prompt": wanted}
        found = {q.id for q in sets(pool, **config)}  # type: ignore[arg-type]
        for seed in range(5):
            shuffled = random.Random(seed).sample(pool, len(pool))
            assert {q.id for q in sets(shuffled, **config)} == found  # type: ignore[arg-type]
        assert {q.id for q in sets(pool[:9], **config)} < found  # type: ignore[arg-type]
        assert {q.id for q in sets(pool, seed=1, **config)} != found  # type: ignore[arg-type]
        assert {q.id for q in sets(pool, round=2, **config)} != found  # type: ignore[arg-type]


def test_a_few_sets_of_very_many_are_drawn_without_listing_them() -> None:
    found = sets(responses(64), sets_of=8, per_prompt=50)  # of 4.4 billion
    assert len({q.id for q in found}) == 50 and {q.k for q in found} == {8}
    assert len({r.id for q in found for r in q.responses}) == 64


def test_origins_come_with_the_responses() -> None:
    pool = responses(3)
    drawn = Draws(tuple(pool), drawn_from={pool[0].id: "policy", pool[1].id: "reference", pool[2].id: "policy"})
    (question,) = InPrompt(InPromptConfig(sets_of=3)).pairs(drawn, NOTHING, 1)
    assert question.drawn_from is not None
    assert {r.id: d for r, d in zip(question.responses, question.drawn_from, strict=True)} == drawn.drawn_from
    (unknown,) = sets(pool, sets_of=3)
    assert unknown.drawn_from is None


def test_a_sampler_that_weighs_its_pairs_is_refused() -> None:
    facts = {f.name: None for f in fields(Context)}
    context = Context(**(facts | {"names": {"sampler": "t_pilaf"}, "weighs_pairs": True}))  # type: ignore[arg-type]
    InPrompt(InPromptConfig()).check(context)
    with pytest.raises(RecipeError, match=r"Sampler 't_pilaf' weighs.*`pairing.sets_of: 3`: set it to 2"):
        InPrompt(InPromptConfig(sets_of=3)).check(context)


@pytest.mark.parametrize("config", [{"sets_of": 1}, {"sets_of": 9}, {"asks": "pair"}, {"per_prompt": 0}, {"short": 1}])
def test_settings_out_of_range_are_refused(config: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        InPromptConfig(**config)
