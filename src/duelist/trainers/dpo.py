"""Direct preference optimisation with TRL's `DPOTrainer`, and related losses of pairs and of rankings.

Reference: Rafailov et al., "Direct Preference Optimization", NeurIPS 2023, arXiv 2305.18290, equation (7); equation (2)
           in ActiveDPO (arXiv 2505.19241).
Formula:   −log σ(r(x, y_chosen) − r(x, y_rejected)),  r(x, y) = β log(π_θ(y|x) / π_ref(y|x)); others in
           `duelist.trainers.losses` and, for questions of more than two responses, `duelist.trainers.ranking_losses`.
Unit:      nats.
Cost:      one forward pass of the reference over each labelled response; an epoch, one forward and one backward pass of
           the policy over each.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Literal, Self

from pydantic import ConfigDict, Field, field_validator, model_validator

from duelist.errors import DataError, RecipeError
from duelist.progress import Progress
from duelist.settings.context import Context
from duelist.trainers.base import SHARES, Trainer, TrainingPlan
from duelist.trainers.decisions import batches_of_a_step, holds_sets, ranked_sets, scales_of
from duelist.trainers.judge_use import JudgeUseConfig
from duelist.trainers.persistent_optimizer import PersistentOptimizer, one_step
from duelist.trainers.trl_settings import TrlSettings, require_accepted, require_trl_arguments, trl_config
from duelist.types import Decision, Preference, VoteRule

if TYPE_CHECKING:
    from duelist.models.policy.policy import Policy
    from duelist.trainers.losses import Objective
    from duelist.trainers.ranking_losses import RankedObjective

# TRL settings for the number of steps; online, it is one per round.
STEP_SETTINGS = ("max_steps", "num_train_epochs", "gradient_accumulation_steps")
# Arguments of TRL's DPOConfig that change its own loss, with the value at which it is equation (7). Duelist's losses
# replace TRL's, so these would have no effect.
TRL_LOSS: dict[str, Any] = {
    "loss_type": ["sigmoid"],
    "loss_weights": None,
    "label_smoothing": 0.0,
    "f_divergence_type": "reverse_kl",
    "ld_alpha": None,
    "use_weighting": False,
}


class DPOTrainerConfig(JudgeUseConfig):
    """Settings of the `dpo` trainer."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    accumulate: Literal["all", "round"] = Field(
        default="all", description="Train on all labels so far, or this round's."
    )
    restart: Literal["continue", "from_reference"] = Field(
        default="continue",
        description="Start from last round's policy, or each round again from the reference (from round 0's policy "
        "if the reference is initial).",
    )
    reference: Literal["initial", "previous"] = Field(
        default="initial", description="Keep the policy close to the base model, or to last round's policy."
    )
    loss: Literal["dpo", "xpo"] = Field(
        default="dpo", description="xpo adds a term that makes responses drawn from the reference less likely."
    )
    xpo_alpha: float = Field(
        default=5e-6, gt=0, description="α of the xpo term, for each response drawn from the reference."
    )
    votes: VoteRule = Field(
        default="every",
        description="How several people's votes on a pair are used: each by itself; as one label by their majority; as "
        "shares (soft); or by the posterior of a model of the annotators' reliability. Vote counts of one label: by "
        "their majority, or as shares (soft). A judge's label: by its outcome, or its probability (soft).",
    )
    ties: Literal["drop", "half", "rao_kupper"] = Field(
        default="drop",
        description="Ties of pairs: dropped, half a preference each way, or a separate outcome (Rao and Kupper).",
    )
    tie_threshold: float = Field(
        default=3.0, gt=1, description="ν of rao_kupper: equal responses tie with probability (ν − 1)/(ν + 1)."
    )
    stage_scales: Literal["fitted", "equal"] = Field(
        default="fitted",
        description="How much the lower places of a ranking count: fitted to the answers so far, or as the first.",
    )
    train: dict[str, Any] = Field(
        default_factory=dict,
        description="Arguments of trl.DPOConfig: learning_rate, num_train_epochs, loss_type ...",
    )

    @field_validator("train")
    @classmethod
    def _known_to_trl(cls, train: dict[str, Any]) -> dict[str, Any]:
        require_trl_arguments(train, "DPOConfig")
        return train

    @model_validator(mode="after")
    def _compatible(self) -> Self:
        if self.ties == "rao_kupper" and self.votes in SHARES:
            raise ValueError(
                f"`ties: rao_kupper` is a model of whole decisions, but `votes` is {self.votes}: set it to majority or "
                "every, or `ties` to half."
            )
        if self.loss == "xpo" or self.votes in SHARES or self.ties != "drop":
            self.require_stock_loss("`loss: xpo`, `votes: soft` or `reliability`, and `ties: half` or `rao_kupper`")
        return self

    def require_loss_of_sets(self) -> None:
        """Raise an error for settings that have no meaning for questions of more than two responses.

        `votes: soft` concerns labels of pairs only, and is ignored for other answers.

        Raises:
            RecipeError: if there is such a setting; the message names it.
        """
        if self.ties == "rao_kupper":
            raise RecipeError(
                "`trainer.ties: rao_kupper` is a model of pairs, but some questions have more than two responses: set "
                "`ties` to half or drop, or ask about pairs."
            )
        try:
            self.require_stock_loss("Questions of more than two responses")
        except ValueError as error:
            raise RecipeError(str(error)) from error

    def require_loss_of_judged(self) -> None:
        """Raise an error for settings that have no meaning for a judge's probabilities.

        Raises:
            RecipeError: if there is such a setting; the message names it.
        """
        for key, fitting, value in (("ties", "drop or half", self.ties), ("loss", "dpo", self.loss)):
            if value in ("rao_kupper", "xpo"):
                raise RecipeError(
                    f"A judge's labels are probabilities, for the loss of Bradley and Terry, but `trainer.{key}` is "
                    f"{value}: set it to {fitting}, or `trainer.judge` to ignore."
                )
        try:
            self.require_stock_loss("A judge's labels")
        except ValueError as error:
            raise RecipeError(str(error)) from error

    def require_stock_loss(self, why: str) -> None:
        """Raise an error for a setting of TRL's own loss, which `why` replaces.

        Raises:
            ValueError: if there is such a setting; the message names it.
        """
        for key, stock in TRL_LOSS.items():
            value = self.train.get(key, stock)
            if value not in (stock, *(stock if isinstance(stock, list) else [])):
                raise ValueError(
                    f"{why} need TRL's sigmoid loss, but `train.{key}` is {value!r}: remove it, or go without them."
                )


class DPO(Trainer["Policy", Sequence[Decision]]):
    """Training of the policy with TRL. Each round creates a new optimizer; online, all steps share one.

    No adapter or wrapper accumulates on the model.
    """

    def __init__(self, config: DPOTrainerConfig) -> None:
        self.config = config

    @property
    def plan(self) -> TrainingPlan:
        c = self.config
        return TrainingPlan(
            c.accumulate,
            c.restart,
            c.reference,
            c.votes,
            ties=c.ties != "drop",
            takes_steps=True,
            takes_sets=True,
            stage_scales=c.stage_scales,
            judge=c.judge_use,
        )

    @property
    def trl_settings(self) -> Sequence[TrlSettings]:
        return [TrlSettings("DPOConfig", self.config.train, "trainer.train")]

    def check(self, context: Context) -> None:
        super().check(context)
        # The last two also apply to training on the labelled data that exists before the study.
        for key in STEP_SETTINGS[: 1 if context.labelled_start else None] if context.online else ():
            if key in self.config.train:
                raise RecipeError(
                    f"`online: true` takes one optimizer step a round, but `trainer.train.{key}` says how many to "
                    "take: remove it, and set `rounds` and `budget`."
                )
        name = context.names["sampler"]
        if self.config.loss == "xpo" and context.origins is not None and "reference" not in context.origins:
            raise RecipeError(
                f"`trainer.loss: xpo` is DPO unless some responses are drawn from the reference, but the sampler "
                f"{name!r} draws none: use the sampler `hybrid`, or `loss: dpo`."
            )
        if context.sets_of > 2:
            self.config.require_loss_of_sets()
        if context.judged and self.config.judge != "ignore":
            self.config.require_loss_of_judged()
        if context.weighs_pairs:
            try:
                self.config.require_stock_loss(f"The loss weights of {context.weighed_by}")
            except ValueError as error:
                raise RecipeError(str(error)) from error
        require_accepted(self.trl_settings, context)

    def objective(self, preferences: Sequence[Preference]) -> Objective | None:
        """Return the loss that the settings and the preferences require; None for TRL's own.

        Raises:
            RecipeError: if the preferences have weights or shares, but the settings require a TRL loss without either.
        """
        from duelist.trainers.losses import Objective

        c = self.config
        plain = all(p.weight == 1 and p.share == 1 and p.penalty == 0 for p in preferences)
        if c.loss == "dpo" and c.ties != "rao_kupper" and plain:
            return None
        try:
            c.require_stock_loss("Preferences with weights or shares of votes")
        except ValueError as error:
            raise RecipeError(str(error)) from error
        return Objective(
            tie_threshold=c.tie_threshold if c.ties == "rao_kupper" else None,
            xpo_alpha=c.xpo_alpha if c.loss == "xpo" else 0.0,
        )

    def ranked_objective(self, decisions: Sequence[Decision]) -> RankedObjective:
        """Return the loss of decisions some of which are on questions of more than two responses.

        Raises:
            RecipeError: if a setting has no meaning for such questions.
        """
        from duelist.trainers.ranking_losses import RankedObjective

        c = self.config
        c.require_loss_of_sets()
        scales = scales_of(decisions) if c.stage_scales == "fitted" else ()
        return RankedObjective(scales, c.xpo_alpha if c.loss == "xpo" else 0.0)

    def step(
        self,
        policy: Policy,
        decisions: Sequence[Decision],
        beta: float,
        seed: int,
        optimizer: PersistentOptimizer,
        progress: Progress,
    ) -> Mapping[str, float]:
        return self.train(policy, decisions, beta, seed, progress, optimizer)

    def train(
        self,
        policy: Policy,
        decisions: Sequence[Decision],
        beta: float,
        seed: int,
        progress: Progress,
        optimizer: PersistentOptimizer | None = None,
    ) -> Mapping[str, float]:
        from trl import DPOConfig

        from duelist.models.policy.process_state import global_generators_kept
        from duelist.trainers.trl_progress import train_with_progress

        if self.config.loss == "xpo":
            _require_origins(decisions)
        trainer_on = self._trainer_on(decisions)
        with tempfile.TemporaryDirectory(prefix="duelist-dpo-") as scratch, global_generators_kept():
            own = {"beta": beta, "seed": seed, "output_dir": scratch, "max_length": None}
            on_cpu = policy.device.type == "cpu"
            config = trl_config(DPOConfig, self.config.train, "trainer.train", on_cpu=on_cpu, **own)
            size, accumulated = config.per_device_train_batch_size, config.gradient_accumulation_steps
            config = replace(config, gradient_accumulation_steps=accumulated * batches_of_a_step(decisions, size))
            if optimizer is not None:
                config = replace(config, **one_step(len(decisions), config.per_device_train_batch_size))
            with trainer_on(policy, config) as trainer:
                if optimizer is not None:
                    optimizer.hand_to(trainer)
                outcome = train_with_progress(trainer, "Training", progress)
        done = {"train_loss": float(outcome.training_loss), "optimizer_steps": float(outcome.global_step)}
        if self.config.loss == "xpo":
            done["reference_responses"] = float(sum((d.drawn_from or ()).count("reference") for d in decisions))
        return done

    def _trainer_on(self, decisions: Sequence[Decision]) -> Callable[[Policy, Any], AbstractContextManager[Any]]:
        """Return a function from the policy and TRL's settings to TRL's trainer on these decisions."""
        if holds_sets(decisions):
            from duelist.trainers.trl_ranked_dpo import questions_dataset, ranked_dpo_trainer

            ranked, questions = self.ranked_objective(decisions), questions_dataset(ranked_sets(decisions))
            return lambda policy, config: ranked_dpo_trainer(policy, policy.reference_folder, questions, config, ranked)
        from duelist.trainers.trl_dpo import dpo_trainer, tokenized_dataset

        pairs = [d for d in decisions if isinstance(d, Preference)]
        objective, dataset = self.objective(pairs), tokenized_dataset(pairs)
        return lambda policy, config: dpo_trainer(policy, policy.reference_folder, dataset, config, objective)


def _require_origins(decisions: Sequence[Decision]) -> None:
    unknown = next((d for d in decisions if d.drawn_from is None), None)
    if unknown is not None:
        pair = isinstance(unknown, Preference)
        name = f"pair {unknown.pair_id}" if isinstance(unknown, Preference) else f"question {unknown.question_id}"
        raise DataError(
            f"`loss: xpo` needs to know which responses the reference drew, but {name} does not say: "
            f"{'make pairs with `duelist.pairing.base.pair_of`, or ' if pair else ''}set `trainer.loss: dpo`."
        )
