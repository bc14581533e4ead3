"""Random pools of questions of several responses: the form of `Features` in which fields have a row per response."""

from __future__ import annotations

from itertools import combinations
from math import comb
from typing import Any

import numpy as np
from numpy.typing import NDArray

from duelist.answers import REST
from duelist.types import FIELDS_OF_SETS, Features

_GRADIENT_D, _EMBEDDING_D, _TARGET_M = 24, 12, 9
# One question in so many has fewer responses than the others, as where a prompt has too few distinct ones.
_SMALLER = 4


def random_sets(n: int, needs: frozenset[str], seed: int, past: int, prompts: int, sets_of: int) -> Features:
    """Return a pool of `n` random questions of up to `sets_of` responses, and `past` past ones with an answer each.

    The questions about a prompt share its responses, and ask for rankings, the best, or the best and the worst. Fields
    of pairs in `needs` are filled in the form of sets. Candidates and past questions name responses of the same arrays.

    Args:
        n: number of candidates, N.
        needs: the fields of `Features` that a rule needs.
        seed: seed of the random numbers; a field's values do not depend on the other fields in `needs`.
        past: number of past questions, P; no past question is a candidate.
        prompts: number of prompts.
        sets_of: the number of responses of the largest questions.
    """
    rng = np.random.default_rng(seed)
    per_prompt = sets_of
    while prompts * comb(per_prompt, sets_of) < n + past:
        per_prompt += 1
    possible = [
        [prompt * per_prompt + i for i in chosen]
        for prompt in range(prompts)
        for chosen in combinations(range(per_prompt), sets_of)
    ]
    drawn = [rng.permutation(possible[i]) for i in rng.permutation(len(possible))[: n + past]]
    place_NQ = np.full((n + past, sets_of), -1, np.int64)
    seen: set[tuple[int, ...]] = set()
    for row, responses in enumerate(drawn):
        size = int(rng.integers(2, sets_of)) if rng.integers(_SMALLER) == 0 else sets_of
        size = size if tuple(sorted(responses[:size])) not in seen else sets_of
        seen.add(tuple(sorted(responses[:size])))
        place_NQ[row, :size] = responses[:size]
    size_N = (place_NQ >= 0).sum(axis=1)
    asks_N = np.where(size_N == 2, "pair", rng.choice(["ranking", "best_of_k", "best_worst"], size=n + past))
    fields: dict[str, Any] = {
        "gradient_RD": rng.normal(size=(prompts * per_prompt, _GRADIENT_D)),
        "embedding_RD": rng.normal(size=(prompts * per_prompt, _EMBEDDING_D)),
        "reward_R": rng.normal(size=prompts * per_prompt),
    }
    cost_N, target_MD = rng.uniform(5, 60, size=n + past), rng.normal(size=(_TARGET_M, _GRADIENT_D))
    answers = _answers(rng, place_NQ[n:], asks_N[n:])
    wanted = {FIELDS_OF_SETS.get(name, name) for name in needs}
    given = {name: values for name, values in fields.items() if name in wanted}
    answered = answers if wanted & answers.keys() else {}

    def part(rows: slice, label: str, **more: Any) -> Features:
        count = len(place_NQ[rows])
        nothing = np.empty((0, 2), np.str_)  # ids of pairs
        cost: dict[str, Any] = {"cost_N": cost_N[rows]} if "cost_N" in needs else {}
        return Features(
            pair_id_N=np.array([f"{label}{i}" for i in range(count)], dtype=np.str_),
            prompt_ids_N2=nothing,
            response_ids_N2=nothing,
            length_N2=np.empty((0, 2), np.int64),
            place_NQ=place_NQ[rows],
            asks_N=asks_N[rows],
            **given,
            **cost,
            **more,
        )

    known = part(slice(n, n + past), "past", **answered)
    target: dict[str, Any] = {"target_MD": target_MD} if "target_MD" in needs else {}
    return part(slice(0, n), "candidate", past=known, **target)


def _answers(
    rng: np.random.Generator, place_PQ: NDArray[np.int64], asks_P: NDArray[np.str_]
) -> dict[str, NDArray[Any]]:
    """Return an answer to each past question, at random rewards of when it was asked."""
    inside_PQ = place_PQ >= 0
    reward_PQ = np.where(inside_PQ, rng.normal(size=place_PQ.shape), 0.0)
    worth_PQ = np.where(inside_PQ, reward_PQ + rng.gumbel(size=place_PQ.shape), -np.inf)
    rank_PQ = np.argsort(np.argsort(-worth_PQ, axis=1), axis=1)
    last_P1 = inside_PQ.sum(axis=1, keepdims=True) - 1
    best_worst_PQ = np.where(rank_PQ == 0, 0, np.where(rank_PQ == last_P1, 2, 1))
    rank_PQ = np.where(asks_P[:, None] == "best_worst", best_worst_PQ, rank_PQ)
    rank_PQ = np.where((asks_P[:, None] == "best_of_k") & (rank_PQ > 0), REST, rank_PQ)
    return {
        "asked_reward_XQ": reward_PQ,
        "rank_XQ": np.where(inside_PQ, rank_PQ, -1),
        "answered_X": np.arange(len(place_PQ)),
    }
