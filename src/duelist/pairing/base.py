"""The interface of a pairing."""

from __future__ import annotations

from abc import ABC, abstractmethod

from duelist.types import Draws, GivenResponses, Pair


class Pairing(ABC):
    """Says which responses may be compared."""

    @abstractmethod
    def pairs(self, draws: Draws, given: GivenResponses, round: int) -> list[Pair]:
        """The candidate pairs, without repetition, two different texts in each.

        Two responses that were drawn together keep the weight of their set; others weigh 1.

        Args:
            draws: the round's responses, and which of them were drawn together.
            given: the pairs as the data set had them.
            round: noted in the pairs, from 1.
        """
