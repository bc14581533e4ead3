"""All pairs within a prompt, or all sets of k of its responses: m responses give m(m−1)/2 pairs, C(m, k) sets.

Reference: ActiveDPO (arXiv 2505.19241), Section 4: three responses, three pairs per prompt.
Formula:   {(i, j) : i < j <= m} for every prompt; with `sets_of: k`, every k of the m, or `per_prompt` of them.
Cost:      O(m²) pairs or O(C(m, k)) sets per prompt; no model is run.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import combinations
from math import comb
from typing import ClassVar, Literal

import numpy as np
from pydantic import BaseModel, ConfigDict, Field

from duelist.choice_models.information import LARGEST_QUESTION
from duelist.errors import RecipeError
from duelist.pairing.base import Pairing, PoolSize, pair_of
from duelist.seeding import generator
from duelist.settings.context import Context
from duelist.types import DrawnSet, Draws, GivenResponses, Question, Response


class InPromptConfig(BaseModel):
    """Settings of pairing within prompts."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    sets_of: int = Field(default=2, ge=2, le=LARGEST_QUESTION, description="k, the number of responses in a question.")
    asks: Literal["ranking", "best_of_k", "best_worst"] = Field(
        default="ranking",
        description="What is asked about more than two responses: to order them, to name the best, or to name the best "
        "and the worst.",
    )
    per_prompt: int | None = Field(
        default=None,
        ge=1,
        description="Questions per prompt, drawn at random from all C(m, k); null: all of them.",
    )
    short_sets: Literal["smaller", "none"] = Field(
        default="smaller",
        description="A prompt with fewer than k different responses gives one question about all of them, or none.",
    )


class InPrompt(Pairing):
    """Pairs, or larger sets, of responses to the same prompt with different texts: equal texts allow no preference."""

    uses_given: ClassVar[bool] = False

    def __init__(self, config: InPromptConfig) -> None:
        self.config = config

    @property
    def sets_of(self) -> int:
        return self.config.sets_of

    def check(self, context: Context) -> None:
        super().check(context)
        if self.config.sets_of > 2 and context.weighs_pairs:
            raise RecipeError(
                f"Sampler {context.names['sampler']!r} weighs the loss of each pair, which has no meaning for "
                f"`pairing.sets_of: {self.config.sets_of}`: set it to 2, or use another sampler."
            )

    def pairs(self, draws: Draws, given: GivenResponses, round: int, seed: int = 0) -> list[Question]:
        drawn = {frozenset((s.a, s.b)): s for s in draws.sets}
        by_prompt: dict[str, list[Response]] = {}
        for response in draws.responses:
            by_prompt.setdefault(response.prompt_id, []).append(response)
        found: dict[str, Question] = {}
        for prompt_id, group in by_prompt.items():
            rng = generator(seed, "sets", round, prompt_id)
            for question in self._questions(draws, drawn, group, round, rng):
                found.setdefault(question.id, question)
        return list(found.values())

    def most_pairs(self, pool: PoolSize) -> int | None:
        if pool.responses is None:
            return None
        return sum(self._count(m) for m in pool.responses)

    def _questions(
        self,
        draws: Draws,
        drawn: dict[frozenset[str], DrawnSet],
        group: Sequence[Response],
        round: int,
        rng: np.random.Generator,
    ) -> list[Question]:
        k, wanted = self.config.sets_of, self.config.per_prompt
        if k == 2:
            pairs = [
                pair_of(draws, a, b, round, drawn.get(frozenset((a.id, b.id))))
                for a, b in combinations(group, 2)
                if a.text != b.text
            ]
            return pairs if wanted is None else _some(pairs, wanted, rng)
        # Of equal texts, the response with the smallest id: the order in which responses were drawn does not matter.
        distinct = list({r.text: r for r in sorted(group, key=lambda r: r.id, reverse=True)}.values())
        if len(distinct) < k:
            if self.config.short_sets == "none" or len(distinct) < 2:
                return []
            k = len(distinct)
        return [set_of(draws, members, self.config.asks, round) for members in _sets(distinct, k, wanted, rng)]

    def _count(self, m: int) -> int:
        k = self.config.sets_of
        if m < k:
            return int(self.config.short_sets == "smaller" and m >= 2)
        return comb(m, k) if self.config.per_prompt is None else min(comb(m, k), self.config.per_prompt)


def set_of(
    draws: Draws, members: Sequence[Response], asks: Literal["ranking", "best_of_k", "best_worst"], round: int
) -> Question:
    """Return the question about some of a round's draws, with their origins."""
    origins = [draws.drawn_from[r.id] for r in members if r.id in draws.drawn_from]
    return Question.of(members, asks, round, origins if len(origins) == len(members) else None)


def _sets(
    responses: Sequence[Response], k: int, wanted: int | None, rng: np.random.Generator
) -> Iterable[Sequence[Response]]:
    """Return all sets of k responses, or `wanted` different ones drawn at random without listing the others."""
    total = comb(len(responses), k)
    if wanted is None or wanted >= total:
        return combinations(responses, k)
    ordered = sorted(responses, key=lambda r: r.id)
    if total <= 4 * wanted:
        every = list(combinations(ordered, k))
        return [every[i] for i in rng.permutation(total)[:wanted]]
    drawn: dict[tuple[int, ...], None] = {}  # the first different sets of a random sequence
    while len(drawn) < wanted:
        drawn[tuple(sorted(rng.choice(len(ordered), k, replace=False).tolist()))] = None
    return [[ordered[i] for i in members] for members in drawn]


def _some(questions: list[Question], wanted: int, rng: np.random.Generator) -> list[Question]:
    """Return `wanted` questions drawn without replacement; their order in the list does not matter to the draw."""
    ordered = sorted(questions, key=lambda q: q.id)
    return [ordered[i] for i in sorted(rng.permutation(len(ordered))[:wanted].tolist())]
