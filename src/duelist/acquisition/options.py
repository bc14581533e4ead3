"""Settings that every acquisition has, handled outside the rule."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from pydantic import BaseModel, ConfigDict, Field

from duelist.acquisition.base import Acquisition, declared_needs
from duelist.errors import RecipeError
from duelist.seeding import hash_keys


class AcquisitionOptions(BaseModel):
    """What any acquisition can be told in a recipe, beside its own settings."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    candidates: int | None = Field(
        default=None,
        ge=1,
        description="c: draw c times the budget at random first, and choose among those; null: among all. Only what is "
        "drawn is featurised.",
    )
    per_second: bool = Field(
        default=False, description="Maximise the gain per expected second of a person's time, not per label."
    )

    def needs(self, rule: Acquisition) -> frozenset[str]:
        """The fields that `rule` needs under these options.

        Raises:
            RecipeError: if cost is to count, and the rule cannot count it.
            DuelistError: if the rule's needs are no fields of `Features`.
        """
        needs = declared_needs(rule)
        if not self.per_second:
            return needs
        if not rule.honours_cost:
            raise RecipeError(
                f"`acquisition.per_second` needs a rule whose gain can be divided by a cost, but {type(rule).__name__} "
                "has none: set it to false, or choose another rule."
            )
        return needs | {"cost_N"}

    def draw(self, pair_ids: Sequence[str], budget: int, rng: np.random.Generator) -> list[int]:
        """Positions of the pairs among which to choose, in the order they came.

        Which are drawn depends on the generator and the ids alone.
        """
        if self.candidates is None or self.candidates * budget >= len(pair_ids):
            return list(range(len(pair_ids)))
        drawn = np.argsort(hash_keys(rng, pair_ids), kind="stable")[: self.candidates * budget]
        return [int(i) for i in np.sort(drawn)]
