"""Random pools of questions of several responses: like real ones, and answered."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from duelist.answers import REST
from duelist.testing import random_features

EVERYTHING = frozenset({"gradient_ND", "embedding_ND", "margin_N", "votes_N2", "asked_margin_N", "cost_N", "past"})


@pytest.mark.parametrize(
    ("n", "past", "prompts", "sets_of"), [(40, 12, 4, 4), (1, 0, 1, 3), (0, 0, 3, 5), (90, 30, 6, 6)]
)
def test_pools_are_like_real_ones(n: int, past: int, prompts: int, sets_of: int) -> None:
    pool: Any = random_features(n, EVERYTHING, past=past, prompts=prompts, sets_of=sets_of)
    known = pool.past
    assert (pool.n, known.n) == (n, past)
    per_prompt = len(pool.reward_R) // prompts
    asked = []
    for part in (pool, known):
        assert part.gradient_RD is pool.gradient_RD and part.place_NQ.shape[1] == sets_of
        for row, asks in zip(part.place_NQ, part.asks_N, strict=True):
            mine = row[row >= 0]
            assert len(set(mine // per_prompt)) == 1 and len(set(mine)) == len(mine) >= 2
            assert (asks == "pair") == (len(mine) == 2)
            asked.append(tuple(sorted(mine)))
    assert len(set(asked)) == len(asked)
    if n > 30:
        assert {len(a) for a in asked} == set(range(2, sets_of + 1))
        assert set(pool.asks_N) == {"pair", "ranking", "best_of_k", "best_worst"}
    for asks, row, ranks in zip(known.asks_N, known.place_NQ, known.rank_XQ, strict=True):
        k = int((row >= 0).sum())
        expected = {
            "best_of_k": [0, *[REST] * (k - 1)],
            "best_worst": [0, *[1] * (k - 2), 2],
        }.get(asks, list(range(k)))
        assert sorted(ranks[:k]) == expected and (ranks[k:] == -1).all()
    less: Any = random_features(n, frozenset({"gradient_ND"}), past=past, prompts=prompts, sets_of=sets_of)
    assert np.array_equal(less.gradient_RD, pool.gradient_RD) and np.array_equal(less.place_NQ, pool.place_NQ)
    assert less.reward_R is None and less.cost_N is None and less.past.rank_XQ is None and less.target_MD is None
