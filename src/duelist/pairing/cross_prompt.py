"""Pairs of any two responses, to the same prompt or to different prompts.

Reference: Shen, Sun, Ton, arXiv 2502.04354, Section 5 and Appendix (cross-prompt annotation).
Formula:   `pairs` of the R(R−1)/2 pairs of responses, drawn at random without replacement; all of them if there are
           fewer.
Cost:      proportional to the number of drawn pairs: the others are not enumerated.

For reward models only: a policy is trained on two responses to one prompt.
"""

from __future__ import annotations

from typing import ClassVar

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field

from duelist.pairing.base import Pairing, PoolSize, pair_of
from duelist.seeding import generator
from duelist.types import Draws, GivenResponses, Question


class CrossPromptConfig(BaseModel):
    """Settings of cross-prompt pairing."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    pairs: int = Field(default=20_000, ge=1, description="Pairs drawn each round.")


class CrossPrompt(Pairing):
    """Random pairs of all responses of the round; the order of the responses does not matter."""

    crosses_prompts: ClassVar[bool] = True

    def __init__(self, config: CrossPromptConfig) -> None:
        self.config = config

    def pairs(self, draws: Draws, given: GivenResponses, round: int, seed: int = 0) -> list[Question]:
        # Ids are hashes of prompt and text, so equal texts for one prompt are one response.
        pool = [response for _, response in sorted({r.id: r for r in draws.responses}.items())]
        rng = generator(seed, "cross-prompt", round)
        found = []
        for i, j in draw_pairs(len(pool), self.config.pairs, rng).tolist():
            a, b = pool[i], pool[j]
            if a.prompt_id != b.prompt_id or a.text != b.text:
                found.append(pair_of(draws, a, b, round))
        return found

    def most_pairs(self, pool: PoolSize) -> int | None:
        if pool.responses is None:
            return self.config.pairs
        n = sum(pool.responses)
        return min(self.config.pairs, n * (n - 1) // 2)


def draw_pairs(n: int, wanted: int, rng: np.random.Generator) -> NDArray[np.int64]:
    """Return `min(wanted, n(n−1)/2)` distinct pairs i < j of n items, `[X, 2]`, uniform over all sets of pairs."""
    total = n * (n - 1) // 2
    if total <= 4 * wanted:
        code_X = rng.permutation(total)[:wanted]
    else:
        # The first distinct numbers of a random sequence: a uniform sample with few repeats.
        code_X = np.empty(0, np.int64)
        while len(code_X) < wanted:
            more = np.concatenate([code_X, rng.integers(0, total, size=wanted)])
            code_X = more[np.sort(np.unique(more, return_index=True)[1])]
        code_X = code_X[:wanted]
    # Pair (i, j) has code j(j−1)/2 + i.
    j_X = ((1 + np.sqrt(1 + 8 * code_X.astype(np.float64))) / 2).astype(np.int64)
    j_X -= code_X < j_X * (j_X - 1) // 2
    j_X += code_X >= j_X * (j_X + 1) // 2
    return np.stack([code_X - j_X * (j_X - 1) // 2, j_X], axis=1).astype(np.int64)
