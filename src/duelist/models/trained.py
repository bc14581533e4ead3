"""The models that a study trains, handed together to whatever needs one of them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from duelist.errors import RecipeError
from duelist.models.policy import Policy


@dataclass(frozen=True)
class Models:
    """A policy, a reward model, or both.

    Attributes:
        policy: the language model being aligned, with its reference.
        reward_model: the reward model being trained.
    """

    policy: Policy | None = None
    reward_model: Any | None = None

    def policy_for(self, user: str) -> Policy:
        """The policy, which `user` cannot do without.

        Raises:
            RecipeError: if the study has none.
        """
        if self.policy is None:
            raise RecipeError(f"{user} needs a policy, but the recipe has none: set `policy`, or choose another one.")
        return self.policy
