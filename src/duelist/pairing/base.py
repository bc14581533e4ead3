"""The interface of a pairing."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence

from duelist.types import GivenResponses, Pair, Response


class Pairing(ABC):
    """Says which responses may be compared."""

    @abstractmethod
    def pairs(self, responses: Sequence[Response], given: GivenResponses, round: int) -> list[Pair]:
        """The candidate pairs, without repetition, two different texts in each.

        Args:
            responses: the round's responses.
            given: the pairs as the data set had them.
            round: noted in the pairs, from 1.
        """
