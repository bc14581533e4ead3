"""Random pools: candidate pairs with the structure of real ones, for tests and for trying a rule before a study."""

from __future__ import annotations

import dataclasses
from itertools import combinations
from typing import Any

import numpy as np
from numpy.typing import NDArray

from duelist.acquisition.random_sets import random_sets
from duelist.types import Features

# Per-response values of `random_features`: a pair's fields are computed from the values of its two responses.
_GRADIENT_D, _EMBEDDING_D, _REWARD_K, _TARGET_M = 24, 12, 10, 9
_BETA = 0.5


def random_features(
    n: int,
    needs: frozenset[str],
    seed: int = 0,
    past: int = 5,
    prompts: int = 4,
    cross_prompt: bool = False,
    sets_of: int = 2,
) -> Features:
    """Return a pool of `n` random pairs with the fields that `needs` names, and `past` past pairs with the same.

    The pool resembles a real one: each prompt has several responses, its pairs share them, and some pairs are missing.
    Margins, gradients and embeddings are differences of the two responses' values, and the margin is the mean
    difference of `reward_N2K`. A field's values do not depend on the other fields in `needs`.

    Args:
        n: number of candidate pairs, N.
        needs: the fields of `Features` to fill; others are None.
        seed: seed of the random numbers.
        past: number of past pairs, P; no past pair is a candidate.
        prompts: number of prompts.
        cross_prompt: whether a pair's two responses answer different prompts (needs at least two prompts).
        sets_of: the number of responses of the largest questions. If it exceeds 2, the pool has questions of several
            sizes about one prompt each, and the fields of `FIELDS_OF_SETS` are filled in the place of those of pairs.
    """
    if sets_of > 2:
        return random_sets(n, needs, seed, past, prompts, sets_of)
    rng = np.random.default_rng(seed)
    prompts = max(prompts, 2) if cross_prompt else prompts
    per_prompt = 2
    while _count(prompts, per_prompt, cross_prompt) < n + past:
        per_prompt += 1
    possible = _possible(prompts, per_prompt, cross_prompt)
    drawn = [possible[i] for i in rng.permutation(len(possible))[: n + past]]
    sides = [(a, b) if rng.random() < 0.5 else (b, a) for a, b in drawn]
    index_N2 = np.array(sides, dtype=np.int64).reshape(n + past, 2)
    values = _pair_values(rng, prompts, per_prompt, index_N2)
    target_MD = rng.normal(size=(_TARGET_M, _GRADIENT_D))

    def part(rows: slice, label: str) -> Features:
        side_N2 = index_N2[rows]
        fields: dict[str, Any] = {name: values[name][rows] for name in needs if name in values}
        return Features(
            pair_id_N=np.array([f"{label}{i}" for i in range(len(side_N2))], dtype=np.str_),
            prompt_ids_N2=_named("prompt", side_N2 // per_prompt),
            response_ids_N2=_named("response", side_N2),
            **{"length_N2": values["length_N2"][rows], **fields},
        )

    pool = part(slice(0, n), "candidate")
    if "target_MD" in needs:
        pool = dataclasses.replace(pool, target_MD=target_MD)
    return dataclasses.replace(pool, past=part(slice(n, n + past), "past"))


def _count(prompts: int, per_prompt: int, cross_prompt: bool) -> int:
    """Return the number of pairs that `_possible` gives."""
    within = prompts * (per_prompt * (per_prompt - 1) // 2)
    everything = prompts * per_prompt * (prompts * per_prompt - 1) // 2
    return everything - within if cross_prompt else within


def _possible(prompts: int, per_prompt: int, cross_prompt: bool) -> list[tuple[int, int]]:
    """Return every pair of responses, within a prompt or across; response r answers prompt r // per_prompt."""
    pairs = combinations(range(prompts * per_prompt), 2)
    return [(a, b) for a, b in pairs if (a // per_prompt != b // per_prompt) == cross_prompt]


def _pair_values(
    rng: np.random.Generator, prompts: int, per_prompt: int, index_N2: NDArray[np.int64]
) -> dict[str, NDArray[Any]]:
    """Return every field except the ids, for the pairs of responses at `index_N2`."""
    r, n = prompts * per_prompt, len(index_N2)
    log_ratio_N2 = rng.normal(size=r)[index_N2]
    noise_RK = rng.normal(size=(r, _REWARD_K))
    noise_RK -= noise_RK.mean(axis=1, keepdims=True)
    gradient_RD, embedding_RD = rng.normal(size=(r, _GRADIENT_D)), rng.normal(size=(r, _EMBEDDING_D))
    entropy_X = rng.uniform(1, 9, size=prompts)
    return {
        "length_N2": rng.integers(1, 50, size=r)[index_N2],
        "log_ratio_N2": log_ratio_N2,
        "margin_N": _BETA * (log_ratio_N2[:, 0] - log_ratio_N2[:, 1]),
        "reward_N2K": _BETA * log_ratio_N2[:, :, None] + noise_RK[index_N2],
        "gradient_ND": gradient_RD[index_N2[:, 0]] - gradient_RD[index_N2[:, 1]],
        "embedding_ND": embedding_RD[index_N2[:, 0]] - embedding_RD[index_N2[:, 1]],
        "prompt_entropy_N": entropy_X[index_N2 // per_prompt].mean(axis=1),
        "cost_N": rng.uniform(5, 60, size=n),
        "votes_N2": rng.integers(2, size=(n, 2)),
        "asked_margin_N": rng.normal(size=n),
    }


def _named(what: str, number_N2: NDArray[np.int64]) -> NDArray[np.str_]:
    names = [[f"{what}{number}" for number in row] for row in number_N2.tolist()]
    return np.array(names, dtype=np.str_).reshape(number_N2.shape)
