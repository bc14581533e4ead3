"""The interface of a pairing."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from duelist.errors import RecipeError
from duelist.settings.context import Checked, Context
from duelist.types import DrawnSet, Draws, GivenResponses, Pair, Response


@dataclass(frozen=True)
class PoolSize:
    """What is known of a round's pool before it is drawn; None where a number is not known.

    Attributes:
        responses: responses of each prompt, at most.
        sets: sets of two drawn together, at most.
        given: pairs in the data set's rows.
    """

    responses: Sequence[int] | None
    sets: int | None
    given: int | None


class Pairing(Checked, ABC):
    """Says which responses may be compared.

    Attributes:
        crosses_prompts: whether a pair's responses may answer two prompts.
        uses_given: whether it may look at the pairs that the data set had.
    """

    crosses_prompts: ClassVar[bool] = False
    uses_given: ClassVar[bool] = True

    @abstractmethod
    def pairs(self, draws: Draws, given: GivenResponses, round: int, seed: int = 0) -> list[Pair]:
        """The candidate pairs, without repetition, two different texts in each.

        Two responses that were drawn together keep the weight and the origins of their set; others weigh 1
        (`pair_of`).

        Args:
            draws: the round's responses, and which of them were drawn together.
            given: the pairs as the data set had them.
            round: noted in the pairs, from 1.
            seed: the only source of randomness, the same every round.
        """

    def most_pairs(self, pool: PoolSize) -> int | None:
        """Return how many pairs such a pool has at most; None if that cannot be said."""
        return None

    def check(self, context: Context) -> None:
        if self.crosses_prompts and context.trains == "policy":
            raise RecipeError(
                f"Trainer {context.names['trainer']!r} needs two responses to one prompt, but pairing "
                f"{context.names['pairing']!r} crosses prompts: use pairing `in_prompt`, or train a reward model "
                "(trainer `bradley_terry`)."
            )


def pair_of(draws: Draws, a: Response, b: Response, round: int, drawn: DrawnSet | None = None) -> Pair:
    """Return the comparison of two of a round's draws, with their origins.

    Args:
        draws: the round's draws.
        a: one response.
        b: the other.
        round: noted in the pair.
        drawn: the set in which the two were drawn together, if any: it gives the pair its weight and origins.
    """
    weight, origins = (1.0, None) if drawn is None else (drawn.weight, drawn.drawn_from)
    if drawn is not None and origins is not None and drawn.a != a.id:
        origins = origins[1], origins[0]
    return Pair.of(a, b, round, weight, origins or draws.origins(a.id, b.id))


def require_one_prompt(pairs: Sequence[Pair]) -> None:
    """Refuse pairs that cross prompts, for a policy.

    Raises:
        RecipeError: if one does.
    """
    crossing = next((p for p in pairs if p.a.prompt_id != p.b.prompt_id), None)
    if crossing is not None:
        raise RecipeError(
            f"A policy is trained on two responses to one prompt, but pair {crossing.id} crosses prompts "
            f"{crossing.a.prompt_id} and {crossing.b.prompt_id}: use pairing `in_prompt`, or train a reward model "
            "(trainer `bradley_terry`)."
        )
