"""Requests to a decoder, its settings and its interface. Imports no torch, so a recipe is validated without it."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, replace

from duelist.progress import Progress
from duelist.types import Distribution, Prompt, Response


@dataclass(frozen=True)
class ResponseRequest:
    """Request for one response: its prompt and the distribution to draw from."""

    prompt: Prompt
    drawn_from: Distribution = "policy"


@dataclass(frozen=True)
class Decoding:
    """Decoding settings.

    Attributes:
        max_new_tokens: maximum length of a response, in tokens.
        temperature: logits are divided by this; 0 selects the most probable token.
        top_p: probability of the nucleus.
        batch_size: responses decoded together. A response from π⁺ or π⁻ takes two rows of the model.
        beta: β of π⁺ and π⁻.
        top_k: number of most probable tokens to draw from; None for all.
    """

    max_new_tokens: int
    temperature: float = 1.0
    top_p: float = 1.0
    batch_size: int = 64
    beta: float = 0.0
    top_k: int | None = None

    @property
    def greedy(self) -> bool:
        """Whether decoding is deterministic: all draws from one distribution are the same."""
        return self.temperature == 0 or self.top_k == 1


class Decoder(ABC):
    """Interface of a decoder, in this process or on a server."""

    @abstractmethod
    def draw(
        self, wanted: Sequence[ResponseRequest], how: Decoding, *, round: int, seed: int, progress: Progress, what: str
    ) -> list[Response]:
        """Draw one response per request.

        Args:
            wanted: the requests. A decoder that cannot draw from a distribution raises before it draws anything.
            how: limits, temperature, β.
            round: recorded in the responses.
            seed: the only source of randomness.
            progress: reports the number of responses done.
            what: label of the progress bar.

        Returns:
            Responses in the order of `wanted`. Their text is their tokens decoded without special tokens. Their token
            ids are those drawn, with the end-of-sequence token unless the response was truncated at `max_new_tokens`.

        Raises:
            RecipeError: if this decoder cannot draw from a requested distribution.
            DataError: if a prompt plus `max_new_tokens` does not fit in the context.
            ModelError: if a prompt is conversational and the tokenizer has no chat template.
        """


def as_policy(wanted: Sequence[ResponseRequest]) -> list[ResponseRequest]:
    """Return the same requests, all drawn from the policy; equivalent while the policy equals its reference."""
    return [replace(r, drawn_from="policy") for r in wanted]
