"""Pairs as given in the rows of the data set.

Reference: none needed.
Formula:   (chosen, rejected) or (response_a, response_b) of each row.
Cost:      one pair per row; no model is run.
"""

from __future__ import annotations

from duelist.errors import DataError
from duelist.pairing.base import Pairing, PoolSize, pair_of
from duelist.types import Draws, GivenResponses, Question


class AsGiven(Pairing):
    """One pair per row."""

    def pairs(self, draws: Draws, given: GivenResponses, round: int, seed: int = 0) -> list[Question]:
        responses = draws.responses
        by_text = {(r.prompt_id, r.text): r for r in responses}
        found: dict[str, Question] = {}
        for prompt_id in dict.fromkeys(r.prompt_id for r in responses):
            for texts in given.pairs.get(prompt_id, []):
                members = [by_text.get((prompt_id, text)) for text in texts]
                if any(m is None for m in members):
                    raise DataError(
                        f"Pairing `as_given` needs the data set's own responses, but those of prompt {prompt_id} are "
                        "not in the pool: use it with sampler `dataset`, or use pairing `in_prompt`."
                    )
                a, b = (m for m in members if m is not None)
                pair = pair_of(draws, a, b, round)
                found[pair.id] = pair
        if not found and responses:
            raise DataError(
                "Pairing `as_given` needs rows with two responses (`chosen` and `rejected`, or `response_a` and "
                "`response_b`), but the data set has none: use pairing `in_prompt` for rows with a list `responses`."
            )
        return list(found.values())

    def most_pairs(self, pool: PoolSize) -> int | None:
        return pool.given
