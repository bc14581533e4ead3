"""The interface of a trainer."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from duelist.models.policy import Policy
from duelist.progress import Progress
from duelist.trainers.carried import CarriedOptimizer
from duelist.types import Preference


@dataclass(frozen=True)
class TrainingPlan:
    """What a round trains on, where it starts, and what the policy is held close to.

    Attributes:
        accumulate: `all` labels so far, or this `round`'s.
        restart: `continue` from last round's policy, or start again `from_reference`: where that is `initial`, from
            round 0's policy (the base model, unless the recipe gives another start).
        reference: the base model (`initial`), or the policy of the `previous` round.
        votes: what vote counts are worth, `majority` or `soft` (`Store.preferences`).
        ties: whether ties are trained on.
    """

    accumulate: Literal["all", "round"]
    restart: Literal["continue", "from_reference"]
    reference: Literal["initial", "previous"]
    votes: Literal["majority", "soft"] = "majority"
    ties: bool = False


class Trainer(ABC):
    """Trains the policy on decided comparisons."""

    @property
    @abstractmethod
    def plan(self) -> TrainingPlan:
        """What to train on and where to start; `Study` sets the policy and the preferences up accordingly."""

    @abstractmethod
    def train(
        self, policy: Policy, preferences: Sequence[Preference], beta: float, seed: int, progress: Progress
    ) -> Mapping[str, float]:
        """Train `policy` in place, against its reference, on `preferences` (one or more).

        Args:
            policy: at the weights training starts from, with its reference set.
            preferences: sorted, so that the order in which labels came changes nothing.
            beta: β of the implicit reward.
            seed: the only source of randomness.
            progress: told how many optimizer steps are done.

        Returns:
            Numbers worth reporting, such as the mean training loss.
        """


class TakesSteps(ABC):
    """What a trainer can do beside `Trainer`, if it can train online: one optimizer step at a time."""

    @abstractmethod
    def step(
        self,
        policy: Policy,
        preferences: Sequence[Preference],
        beta: float,
        seed: int,
        carried: CarriedOptimizer,
        progress: Progress,
    ) -> Mapping[str, float]:
        """Take one optimizer step on `policy` in place, against its reference, on all of `preferences`.

        Args:
            policy: at the weights that the last step left, with its reference set.
            preferences: one or more.
            beta: β of the implicit reward.
            seed: the only source of randomness.
            carried: the optimizer, in the state that the last step left.
            progress: told how many optimizer steps are done.

        Returns:
            Numbers worth reporting.
        """
