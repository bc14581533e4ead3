"""Pairs drawn from all responses, whatever they answer."""

from __future__ import annotations

import random
from itertools import combinations

import numpy as np
import pytest

from duelist.errors import RecipeError
from duelist.pairing.base import require_one_prompt
from duelist.pairing.cross_prompt import CrossPrompt, CrossPromptConfig, draw_pairs
from duelist.types import Draws, GivenResponses, Prompt, Response

NOTHING = GivenResponses({}, {})


def pool(prompts: int, each: int) -> list[Response]:
    made = [Prompt.of(f"p{i}") for i in range(prompts)]
    return [Response.of(p, f"r{k}", [1], [i, k], 1) for i, p in enumerate(made) for k in range(each)]


@pytest.mark.parametrize("n", [0, 1, 2, 7, 50])
def test_all_pairs_are_drawn_where_there_are_no_more(n: int) -> None:
    pairs = draw_pairs(n, 10_000, np.random.default_rng(0))
    assert sorted(map(tuple, pairs.tolist())) == sorted(combinations(range(n), 2))


def test_a_large_pool_is_not_enumerated_and_pairs_do_not_repeat() -> None:
    pairs = draw_pairs(3_000_000, 1000, np.random.default_rng(0))
    assert len({tuple(p) for p in pairs.tolist()}) == 1000
    assert (pairs[:, 0] < pairs[:, 1]).all()
    assert pairs.min() >= 0
    assert pairs.max() < 3_000_000
    last = draw_pairs(3_000_000, 200_000, np.random.default_rng(1)).mean(axis=0)
    np.testing.assert_allclose(last, [1_000_000, 2_000_000], rtol=0.01)  # the means of the smaller and the larger


def test_every_pair_is_as_likely() -> None:
    counts = np.zeros((30, 30))
    for seed in range(2000):  # 5 of 435 pairs: drawn, not enumerated
        i, j = draw_pairs(30, 5, np.random.default_rng(seed)).T
        counts[i, j] += 1
    drawn = counts[np.triu_indices(30, 1)]
    expected = 2000 * 5 / 435
    chi2 = ((drawn - expected) ** 2 / expected).sum()
    assert abs(chi2 - 434) < 4 * np.sqrt(2 * 434)
    assert not counts[np.tril_indices(30)].any()


def test_the_order_of_the_pool_changes_nothing_and_the_seed_and_round_do() -> None:
    responses = pool(20, 5)
    pairing = CrossPrompt(CrossPromptConfig(pairs=40))

    def drawn(some: list[Response], round: int = 1, seed: int = 3) -> list[str]:
        return [p.id for p in pairing.pairs(Draws(tuple(some)), NOTHING, round, seed)]

    shuffled = random.Random(0).sample(responses, len(responses))
    assert drawn(shuffled) == drawn(responses)
    assert len(set(drawn(responses))) == 40
    assert len({tuple(x) for x in (drawn(responses), drawn(responses, 2), drawn(responses, seed=4))}) == 3


def test_pairs_cross_prompts_and_a_policy_refuses_them() -> None:
    pairs = CrossPrompt(CrossPromptConfig(pairs=1000)).pairs(Draws(tuple(pool(3, 2))), NOTHING, 1)
    assert len(pairs) == 15
    inside = [p for p in pairs if p.a.prompt_id == p.b.prompt_id]
    assert len(inside) == 3
    require_one_prompt(inside)
    with pytest.raises(RecipeError, match="crosses prompts"):
        require_one_prompt(pairs)
