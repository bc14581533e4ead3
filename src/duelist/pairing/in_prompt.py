"""All pairs within a prompt: m responses give m(m−1)/2 pairs.

Reference: ActiveDPO (arXiv 2505.19241), Section 4: three responses, three pairs per prompt.
Formula:   {(i, j) : i < j <= m} for every prompt.
Cost:      O(m²) pairs per prompt; no model is run.
"""

from __future__ import annotations

from itertools import combinations
from typing import ClassVar

from duelist.pairing.base import Pairing, PoolSize, pair_of
from duelist.types import Draws, GivenResponses, Question, Response


class InPrompt(Pairing):
    """All pairs of responses to the same prompt with different texts: equal texts allow no preference."""

    uses_given: ClassVar[bool] = False

    def pairs(self, draws: Draws, given: GivenResponses, round: int, seed: int = 0) -> list[Question]:
        drawn = {frozenset((s.a, s.b)): s for s in draws.sets}
        by_prompt: dict[str, list[Response]] = {}
        for response in draws.responses:
            by_prompt.setdefault(response.prompt_id, []).append(response)
        found = {
            pair.id: pair
            for group in by_prompt.values()
            for a, b in combinations(group, 2)
            if a.text != b.text
            for pair in [pair_of(draws, a, b, round, drawn.get(frozenset((a.id, b.id))))]
        }
        return list(found.values())

    def most_pairs(self, pool: PoolSize) -> int | None:
        return None if pool.responses is None else sum(m * (m - 1) // 2 for m in pool.responses)
