"""The interface of a trainer."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from duelist.errors import RecipeError
from duelist.models.policy.policy import Policy
from duelist.models.rewards.network import RewardModel
from duelist.progress import Progress
from duelist.settings.context import Checked, Context
from duelist.trainers.persistent_optimizer import PersistentOptimizer
from duelist.trainers.reward_fitting import Comparisons
from duelist.types import Preference, VoteRule


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
        trains: the policy, or a reward model on fixed embeddings.
    """

    accumulate: Literal["all", "round"]
    restart: Literal["continue", "from_reference"]
    reference: Literal["initial", "previous"]
    votes: VoteRule = "majority"
    ties: bool = False
    trains: Literal["policy", "reward_model"] = "policy"


class Planned(Checked, ABC):
    """What all trainers say of themselves."""

    @property
    @abstractmethod
    def plan(self) -> TrainingPlan:
        """What to train on and where to start; `Study` sets the model and the preferences up accordingly."""

    def check(self, context: Context) -> None:
        if context.online and not isinstance(self, TakesSteps):
            raise RecipeError(
                f"`online: true` needs a trainer that takes single steps, but {context.names['trainer']} trains in one "
                "piece: use `dpo`, or set `online` to false."
            )
        for key, wanted in (("accumulate", "round"), ("restart", "continue"), ("reference", "initial")):
            if context.online and getattr(self.plan, key) != wanted:
                raise RecipeError(
                    f"`online: true` goes on from the last step with this round's labels, so `trainer.{key}` must be "
                    f"`{wanted}`, but is `{getattr(self.plan, key)}`: change it, or set `online` to false."
                )


class Trainer(Planned):
    """Trains the policy on decided comparisons."""

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


class RewardTrainer(Planned):
    """Trains a reward model on decided comparisons; its plan's `trains` is `reward_model`."""

    @abstractmethod
    def fit(self, model: RewardModel, data: Comparisons, seed: int, progress: Progress) -> Mapping[str, float]:
        """Train `model` in place.

        Args:
            model: at the weights training starts from.
            data: one labelled pair or more.
            seed: the only source of randomness.
            progress: told how many optimizer steps are done.

        Returns:
            Numbers worth reporting.
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
        carried: PersistentOptimizer,
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
