"""Interface of a pairing."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from duelist.errors import RecipeError
from duelist.settings.context import Checked, Context
from duelist.types import DrawnSet, Draws, GivenResponses, Question, Response


@dataclass(frozen=True)
class PoolSize:
    """Size of a round's pool, as known before it is drawn; unknown numbers are None.

    Attributes:
        responses: maximum number of responses to each prompt.
        sets: maximum number of sets of two drawn together.
        given: number of pairs in the data set's rows.
    """

    responses: Sequence[int] | None
    sets: int | None
    given: int | None


class Pairing(Checked, ABC):
    """Source of the candidate questions: the responses that may be compared, two or more at a time.

    Attributes:
        crosses_prompts: whether the responses of a pair may belong to different prompts.
        uses_given: whether it may use the pairs of the data set.
    """

    crosses_prompts: ClassVar[bool] = False
    uses_given: ClassVar[bool] = True

    @property
    def sets_of(self) -> int:
        """The largest number of responses in a question, k; 2 for pairs."""
        return 2

    @abstractmethod
    def pairs(self, draws: Draws, given: GivenResponses, round: int, seed: int = 0) -> list[Question]:
        """Return the candidate questions, without repetition, each of different texts; usually pairs.

        Two responses that were drawn together keep the weight and the origins of their set; other pairs have weight 1
        (`pair_of`).

        Args:
            draws: the round's responses, and the sets drawn together.
            given: the pairs of the data set.
            round: the round to record in the pairs, from 1.
            seed: the only source of randomness, the same in every round.
        """

    def most_pairs(self, pool: PoolSize) -> int | None:
        """Return the maximum number of pairs of such a pool; None if it is unknown."""
        return None

    def check(self, context: Context) -> None:
        if self.crosses_prompts and context.trains == "policy":
            raise RecipeError(
                f"Trainer {context.names['trainer']!r} needs two responses to one prompt, but pairing "
                f"{context.names['pairing']!r} crosses prompts: use pairing `in_prompt`, or train a reward model "
                "(trainer `bradley_terry`)."
            )


def pair_of(draws: Draws, a: Response, b: Response, round: int, drawn: DrawnSet | None = None) -> Question:
    """Return the pair of two of a round's draws, with their origins.

    Args:
        draws: the round's draws.
        a: one response.
        b: the other response.
        round: the round to record in the pair.
        drawn: the set in which the two were drawn together, if any; it gives the pair its weight and origins.
    """
    weight, origins = (1.0, None) if drawn is None else (drawn.weight, drawn.drawn_from)
    if drawn is not None and origins is not None and drawn.a != a.id:
        origins = origins[1], origins[0]
    return Question.pair(a, b, round, weight, origins or draws.origins(a.id, b.id))


def require_one_prompt(pairs: Sequence[Question]) -> None:
    """Check that no pair crosses prompts, as training a policy requires.

    Raises:
        RecipeError: if a pair does.
    """
    crossing = next((p for p in pairs if p.responses[0].prompt_id != p.responses[-1].prompt_id), None)
    if crossing is not None:
        raise RecipeError(
            f"A policy is trained on two responses to one prompt, but pair {crossing.id} crosses prompts "
            f"{crossing.a.prompt_id} and {crossing.b.prompt_id}: use pairing `in_prompt`, or train a reward model "
            "(trainer `bradley_terry`)."
        )
