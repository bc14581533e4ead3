"""Interface of a sampler."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import ClassVar, NamedTuple

from duelist.errors import RecipeError
from duelist.models.decoding.requests import Decoder, Decoding, ResponseRequest
from duelist.models.trained import Models
from duelist.progress import Progress
from duelist.samplers.settings import DecodingConfig
from duelist.settings.context import Checked, Context
from duelist.types import Distribution, DrawnSet, Draws, GivenResponses, Prompt, Response


class Drawn(NamedTuple):
    """A response, and the distribution of this draw."""

    response: Response
    drawn_from: Distribution


Together = tuple[Drawn, Drawn, float]  # two draws, and the weight of comparing them

FROM_DATASET = frozenset({"dataset"})  # the origins of responses that are looked up


@dataclass(frozen=True)
class SampleJob:
    """Input of a sampler: the prompts, the models, and how to decode.

    Attributes:
        models: the models being trained.
        prompts: the round's prompts.
        given: the responses that the data set has for these prompts.
        round: the round, from 1.
        beta: β of DPO and of the implicit reward.
        seed: the only source of randomness; the same seed gives the same responses.
        progress: receives the number of finished responses.
        decoder: decodes the responses; None: decode with the policy, by the engine of `models`.
        fewest: number of responses that a prompt needs for the round's pairing.
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
        """Decode the responses that `user` requests, and return them in the order of the requests.

        Raises:
            RecipeError: if decoding is in this process and the study has no policy.
        """
        from duelist.models.decoding.local import LocalDecoder

        decoder = self.decoder or LocalDecoder(self.models.policy_for(user), compute=self.models.map)
        drawn = decoder.draw(
            orders, how, round=self.round, seed=self.seed, progress=self.progress, what="Sampling responses"
        )
        return [Drawn(response, order.drawn_from) for response, order in zip(drawn, orders, strict=True)]


@dataclass(frozen=True)
class Counts:
    """Maximum output of a sampler per prompt.

    Attributes:
        responses: number of responses in the pool.
        sets: number of sets of two responses drawn together.
        decoded: number of responses decoded for them.
    """

    responses: int
    sets: int
    decoded: int


class Sampler(Checked, ABC):
    """Source of the pool's responses: drawn from a model or looked up in a data set.

    Attributes:
        mixes_models: whether it mixes the policy and its reference at every token, which no server supports.
        weighs_pairs: whether it gives its pairs loss weights.
        origins: origins of its responses, as values of `Response.drawn_from`; None: it may use the data set's
            responses.
    """

    mixes_models: ClassVar[bool] = False
    weighs_pairs: ClassVar[bool] = False
    origins: ClassVar[frozenset[str] | None] = None

    @property
    @abstractmethod
    def counts(self) -> Counts | None:
        """Return the maximum output per prompt; None if it depends on the data set."""

    @abstractmethod
    def sample(self, job: SampleJob) -> Draws:
        """Return responses to every prompt, and the sets of responses drawn together."""

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
    """Return the `Draws` of all drawn responses, repetitions included, and of the sets with their weights.

    Of equal responses, the first draw is kept; each set keeps the origins of its two draws.
    """
    first: dict[str, Drawn] = {}
    for draw in drawn:
        first.setdefault(draw.response.id, draw)
    together = [DrawnSet(a.response.id, b.response.id, w, (a.drawn_from, b.drawn_from)) for a, b, w in sets]
    origins = {i: draw.drawn_from for i, draw in first.items()}
    return Draws(tuple(draw.response for draw in first.values()), tuple(together), tuple(notes), origins)


def two_by_two(drawn: Sequence[Drawn], m: int = 2) -> list[Together]:
    """Return the sets of neighbouring draws among each prompt's `m` draws, each with weight 1."""
    return [(drawn[i + k], drawn[i + k + 1], 1.0) for i in range(0, len(drawn), m) for k in range(0, m - 1, 2)]
