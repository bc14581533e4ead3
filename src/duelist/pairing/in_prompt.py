"""All comparisons within a prompt: m responses make m(m−1)/2 pairs.

Reference: ActiveDPO (arXiv 2505.19241), Section 4: three responses, three pairs per prompt.
Formula:   {(i, j) : i < j <= m} for every prompt.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations

from duelist.pairing.base import Pairing
from duelist.types import GivenResponses, Pair, Response


class InPrompt(Pairing):
    """Pair every two responses to the same prompt whose texts differ: nobody can prefer one of two equal texts."""

    def pairs(self, responses: Sequence[Response], given: GivenResponses, round: int) -> list[Pair]:
        by_prompt: dict[str, list[Response]] = {}
        for response in responses:
            by_prompt.setdefault(response.prompt_id, []).append(response)
        found = {
            pair.id: pair
            for group in by_prompt.values()
            for a, b in combinations(group, 2)
            if a.text != b.text
            for pair in [Pair.of(a, b, round)]
        }
        return list(found.values())
