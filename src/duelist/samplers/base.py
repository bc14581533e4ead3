"""The interface of a sampler."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence

from duelist.models.policy import Policy
from duelist.progress import Progress
from duelist.types import GivenResponses, Prompt, Response


class Sampler(ABC):
    """Draws (or looks up) the responses that become the pool."""

    @abstractmethod
    def sample(
        self,
        policy: Policy,
        prompts: Sequence[Prompt],
        given: GivenResponses,
        round: int,
        seed: int,
        progress: Progress,
    ) -> list[Response]:
        """Responses to every prompt.

        Args:
            policy: the model being aligned.
            prompts: the round's prompts.
            given: the responses that the data set has for them.
            round: the round they are drawn in, from 1.
            seed: the only source of randomness; the same seed gives the same responses.
            progress: told how many responses are done.

        Returns:
            Distinct responses (equal draws are one response), prompt by prompt.
        """
