"""The interface of a sampler."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import ClassVar, NamedTuple

from duelist.errors import RecipeError
from duelist.models.decoding.local import Decoder, Decoding, LocalDecoder, ResponseRequest
from duelist.models.trained import Models
from duelist.progress import Progress
from duelist.samplers.settings import DecodingConfig
from duelist.settings.context import Checked, Context
from duelist.types import Distribution, DrawnSet, Draws, GivenResponses, Prompt, Response


class Drawn(NamedTuple):
    """A response, and the distribution that it was drawn from this time."""

    response: Response
    drawn_from: Distribution


Together = tuple[Drawn, Drawn, float]  # two draws, and the weight of comparing them

FROM_DATASET = frozenset({"dataset"})  # the origins of responses that are looked up


@dataclass(frozen=True)
class SampleJob:
    """What responses are wanted of, and from what.

    Attributes:
        models: the models being trained.
        prompts: the round's prompts.
        given: the responses that the data set has for them.
        round: the round they are drawn in, from 1.
        beta: β of DPO and of the implicit reward.
        seed: the only source of randomness; the same seed gives the same responses.
        progress: told how many responses are done.
        decoder: where responses are decoded; None: in this process.
        fewest: responses that a prompt must have for the round's pairing to use it.
    """

    models: Models
    prompts: Sequence[Prompt]
    given: GivenResponses
    round: int
    beta: float
    seed: int
    progress: Progress
    decoder: Decoder | None = None
    fewest: int = 2

    def draw(self, user: str, orders: Sequence[ResponseRequest], how: Decoding) -> list[Drawn]:
        """Decode what `user` orders, in its order.

        Raises:
            RecipeError: if that is in this process and the study has no policy.
        """
        decoder = self.decoder or LocalDecoder(self.models.policy_for(user))
        drawn = decoder.draw(
            orders, how, round=self.round, seed=self.seed, progress=self.progress, what="Sampling responses"
        )
        return [Drawn(response, order.drawn_from) for response, order in zip(drawn, orders, strict=True)]


@dataclass(frozen=True)
class Counts:
    """What a sampler makes of one prompt, at most.

    Attributes:
        responses: responses in the pool.
        sets: sets of two drawn together.
        decoded: responses decoded for them.
    """

    responses: int
    sets: int
    decoded: int


class Sampler(Checked, ABC):
    """Draws (or looks up) the responses that become the pool.

    Attributes:
        mixes_models: whether it draws from the policy and its reference mixed token by token, which no server can.
        weighs_pairs: whether its pairs have loss weights of their own.
        origins: where its responses come from, in the words of `Response.drawn_from`; None: it may use the data set's.
    """

    mixes_models: ClassVar[bool] = False
    weighs_pairs: ClassVar[bool] = False
    origins: ClassVar[frozenset[str] | None] = None

    @property
    @abstractmethod
    def counts(self) -> Counts | None:
        """What it makes of one prompt; None where that depends on the data set."""

    @abstractmethod
    def sample(self, job: SampleJob) -> Draws:
        """Responses to every prompt, and which of them were drawn together."""

    def check(self, context: Context) -> None:
        if self.mixes_models and context.decoder:
            raise RecipeError(
                f"A server draws from the policy or from its reference, but the sampler {context.names['sampler']!r} "
                "mixes the two at every token: set `decoder: null` (decoding in this process), or use sampler vanilla, "
                "best_of_n or hybrid."
            )
        config = getattr(self, "config", None)
        if isinstance(config, DecodingConfig):
            config.require_different_responses(self.origins, context)


def draws_of(drawn: Iterable[Drawn], sets: Iterable[Together] = (), notes: Sequence[str] = ()) -> Draws:
    """Return the draws from all that was drawn, repetitions included, and from the sets with their weights.

    Of equal responses the first draw stays; each set keeps the origins of its own two.
    """
    first: dict[str, Drawn] = {}
    for draw in drawn:
        first.setdefault(draw.response.id, draw)
    together = [DrawnSet(a.response.id, b.response.id, w, (a.drawn_from, b.drawn_from)) for a, b, w in sets]
    origins = {i: draw.drawn_from for i, draw in first.items()}
    return Draws(tuple(draw.response for draw in first.values()), tuple(together), tuple(notes), origins)


def two_by_two(drawn: Sequence[Drawn], m: int = 2) -> list[Together]:
    """Return the sets of neighbours among each prompt's `m` draws, each of weight 1."""
    return [(drawn[i + k], drawn[i + k + 1], 1.0) for i in range(0, len(drawn), m) for k in range(0, m - 1, 2)]
