"""Settings that every acquisition has, handled outside the rule."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field

from duelist.acquisition.base import RULES_WITH_GAINS, Acquisition, declared_needs
from duelist.acquisition.lure import LureConfig
from duelist.errors import RecipeError
from duelist.seeding import hash_keys


class AcquisitionOptions(BaseModel):
    """Settings of any acquisition, in addition to its own."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    candidates: int | None = Field(
        default=None,
        ge=1,
        description="c: draw c times the budget at random, and select from those pairs; null: select from all pairs. "
        "Only the drawn pairs are featurized.",
    )
    per_second: bool = Field(
        default=False, description="Maximise the gain per expected second of annotation time, not per label."
    )
    lure: LureConfig | None = Field(
        default=None,
        description="Draw the batch with known probabilities that grow with the rule's gains, and weight the loss by "
        "levelled unbiased risk estimation; pairs only. null: the rule's own picks.",
    )

    @property
    def weighs_draws(self) -> bool:
        """Whether pairs are drawn with known probabilities, and their labels weighted by them."""
        return self.lure is not None and self.lure.weights == "lure"

    def needs(self, rule: Acquisition) -> frozenset[str]:
        """Return the fields that `rule` needs under these options.

        Raises:
            RecipeError: if `per_second` is set and the rule does not support costs, or `lure` and it has no gains.
            DuelistError: if the rule's needs are not fields of `Features`.
        """
        needs = declared_needs(rule)
        if self.lure is not None and type(rule).gains is Acquisition.gains:
            raise RecipeError(
                f"`acquisition.lure` needs a rule with a gain for each pair by itself, but {type(rule).__name__} has "
                f"none: set it to null, or use one of {', '.join(RULES_WITH_GAINS)}."
            )
        if not self.per_second:
            return needs
        if not rule.honours_cost:
            raise RecipeError(
                f"`acquisition.per_second` needs a rule whose gain can be divided by a cost, but {type(rule).__name__} "
                "has none: set it to false, or choose another rule."
            )
        return needs | {"cost_N"}

    def draw(self, pair_ids: Sequence[str], budget: int, rng: np.random.Generator) -> NDArray[np.int64]:
        """Return the positions of the pairs to select from, ascending.

        The draw depends only on the generator and the ids.
        """
        if self.candidates is None or self.candidates * budget >= len(pair_ids):
            return np.arange(len(pair_ids))
        return np.sort(np.argsort(hash_keys(rng, pair_ids), kind="stable")[: self.candidates * budget])
