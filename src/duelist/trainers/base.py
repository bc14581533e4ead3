"""The interface of a trainer."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, Generic, Literal, TypeVar

from duelist.errors import RecipeError
from duelist.progress import Progress
from duelist.settings.context import Checked, Context
from duelist.trainers.judge_use import JudgeUse, require_use_of_judge
from duelist.trainers.persistent_optimizer import PersistentOptimizer
from duelist.trainers.trl_settings import TrlSettings
from duelist.types import Decision, VoteRule

if TYPE_CHECKING:
    from duelist.models.policy.policy import Policy

Model = TypeVar("Model")
Data = TypeVar("Data")


SHARES = ("soft", "reliability")  # the rules of votes that give a pair a share between 1/2 and 1


@dataclass(frozen=True)
class TrainingPlan:
    """Training data, initial weights and reference of a round.

    Attributes:
        accumulate: train on `all` labels so far, or on this `round`'s.
        restart: `continue` from last round's policy, or start again `from_reference`. If the reference is `initial`,
            that is round 0's policy (the base model, unless the recipe gives another start).
        reference: the base model (`initial`), or the policy of the `previous` round.
        votes: how several votes on a pair are used (`Store.decisions`).
        ties: whether to train on ties.
        takes_steps: whether the trainer can train online (`Trainer.step`).
        takes_sets: whether it can train on questions of three or more responses (`RankedSet`).
        stage_scales: whether the scale of each stage of a ranking is `fitted` to the answers so far, and given with the
            data (`ScaledDecisions`), or all are `equal`.
        counts_steps: whether the progress of `Trainer.train` is that of the policy's optimizer steps and nothing else,
            and each has changed the policy when it is told, so that the policy can be measured between them.
        keeps_reward: whether `Trainer.keep` writes the explicit reward model that the labels trained.
        judge: how judgements are used; None if the trainer cannot use any.
    """

    accumulate: Literal["all", "round"]
    restart: Literal["continue", "from_reference"]
    reference: Literal["initial", "previous"]
    votes: VoteRule = "every"
    ties: bool = False
    takes_steps: bool = False
    takes_sets: bool = False
    stage_scales: Literal["fitted", "equal"] = "equal"
    counts_steps: bool = False
    keeps_reward: bool = False
    judge: JudgeUse | None = None


class Trainer(Checked, ABC, Generic[Model, Data]):
    """Training of a model on decided questions.

    Attributes:
        trains: a `policy` (`Trainer[Policy, Sequence[Preference]]`, or of `Decision` if it takes sets), or a
            `reward_model` on fixed embeddings (`Trainer[RewardModel, Comparisons]`, or also of `RankedComparisons`).
    """

    trains: ClassVar[Literal["policy", "reward_model"]] = "policy"

    @property
    @abstractmethod
    def plan(self) -> TrainingPlan:
        """The training data and the initial weights; `Study` prepares the model and the preferences accordingly."""

    def check(self, context: Context) -> None:
        if context.sets_of > 2 and not self.plan.takes_sets:
            raise RecipeError(
                f"Questions of {context.sets_of} responses need a trainer that takes their answers, but "
                f"{context.names['trainer']} trains on pairs only: use `dpo` (`bradley_terry` for a reward model), or "
                "ask about pairs."
            )
        if context.sets_of > 2 and self.plan.votes in SHARES:
            raise RecipeError(
                f"`trainer.votes: {self.plan.votes}` makes shares of the votes on a pair, but questions have up to "
                f"{context.sets_of} responses (`pairing.sets_of`), whose losses know whole decisions: set it to every "
                "or majority."
            )
        if context.judged:
            require_use_of_judge(self.plan.judge, context)
        if not context.online:
            return
        if not self.plan.takes_steps:
            raise RecipeError(
                f"`online: true` needs a trainer that takes single steps, but {context.names['trainer']} trains in one "
                "piece: use `dpo`, or set `online` to false."
            )
        for key, wanted in (("accumulate", "round"), ("restart", "continue"), ("reference", "initial")):
            if getattr(self.plan, key) != wanted:
                raise RecipeError(
                    f"`online: true` goes on from the last step with this round's labels, so `trainer.{key}` must be "
                    f"`{wanted}`, but is `{getattr(self.plan, key)}`: change it, or set `online` to false."
                )

    @abstractmethod
    def train(self, model: Model, data: Data, beta: float, seed: int, progress: Progress) -> Mapping[str, float]:
        """Train `model` in place.

        Args:
            model: the model at its initial weights; a policy has its reference set.
            data: one or more decided questions, sorted, so the arrival order of the answers changes nothing.
            beta: β of the implicit reward; not used for a reward model.
            seed: the only source of randomness.
            progress: receives the number of optimizer steps done.

        Returns:
            Numbers to report, such as the mean training loss.
        """

    def keep(self, folder: Path) -> None:
        """Write what else the last `train` made into the folder of the round's weights."""

    def step(
        self,
        policy: Policy,
        decisions: Sequence[Decision],
        beta: float,
        seed: int,
        optimizer: PersistentOptimizer,
        progress: Progress,
    ) -> Mapping[str, float]:
        """Train by one step of `optimizer` on all of `decisions`, continuing from the last step.

        Raises:
            RecipeError: if this trainer cannot take single steps.
        """
        raise RecipeError(
            f"`online: true` needs a trainer that takes single steps, but {type(self).__name__} trains in one piece: "
            "use `dpo`, or set `online` to false."
        )

    @property
    def trl_settings(self) -> Sequence[TrlSettings]:
        """The TRL configurations that a round's training creates, if TRL does the training."""
        return ()
