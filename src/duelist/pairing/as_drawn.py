"""Pairs as the sampler drew them: one per set, and no others.

Reference: PILAF (arXiv 2502.04270), Section 3: y_a and y_b are drawn together and compared with each other.
Formula:   {(a, b) : the set (a, b) was drawn, text of a ≠ text of b}, each with its set's weight in the loss.
Cost:      at most one pair per set; no model is run.
"""

from __future__ import annotations

from typing import ClassVar

from duelist.errors import DataError
from duelist.pairing.base import Pairing, PoolSize, pair_of
from duelist.types import Draws, GivenResponses, Question


class AsDrawn(Pairing):
    """One pair per set of two responses drawn together.

    A set of two equal texts gives no pair, because there is nothing to decide. Sets of the same two responses give one
    pair; samplers give these sets the same weight.
    """

    uses_given: ClassVar[bool] = False

    def pairs(self, draws: Draws, given: GivenResponses, round: int, seed: int = 0) -> list[Question]:
        if draws.responses and not draws.sets:
            raise DataError(
                "Pairing `as_drawn` needs a sampler that draws its responses two by two (pilaf, t_pilaf, best_of_n, "
                "hybrid, or vanilla with two responses or more), but this one drew no sets: use pairing `in_prompt`."
            )
        by_id = {r.id: r for r in draws.responses}
        found: dict[str, Question] = {}
        for drawn in draws.sets:
            a, b = by_id[drawn.a], by_id[drawn.b]
            if a.text != b.text:
                pair = pair_of(draws, a, b, round, drawn)
                found.setdefault(pair.id, pair)
        return list(found.values())

    def most_pairs(self, pool: PoolSize) -> int | None:
        return pool.sets
