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
from typing import TYPE_CHECKING, Any

from duelist.errors import DataError, RecipeError
from duelist.progress import Progress
from duelist.settings.context import Context
from duelist.trainers.base import Trainer, TrainingPlan
from duelist.trainers.decisions import batches_of_a_step, holds_sets, ranked_sets, scales_of
from duelist.trainers.dpo_settings import DPOTrainerConfig
from duelist.trainers.persistent_optimizer import PersistentOptimizer, one_step
from duelist.trainers.trl_settings import TrlSettings, require_accepted, trl_config
from duelist.types import Decision, Preference

if TYPE_CHECKING:
    from duelist.models.policy.policy import Policy
    from duelist.trainers.losses import Objective
    from duelist.trainers.ranking_losses import RankedObjective

# TRL settings for the number of steps; online, it is one per round.
STEP_SETTINGS = ("max_steps", "num_train_epochs", "gradient_accumulation_steps")


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
            counts_steps=c.processes == 1,  # else the study's process has the weights only at the end
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
        self._check_processes(context)
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

    def _check_processes(self, context: Context) -> None:
        c = self.config
        if c.processes > 1 and context.online:
            raise RecipeError(
                f"`online: true` takes single steps in the study's own process, but `trainer.processes` is "
                f"{c.processes}: set it to 1, or `online` to false."
            )
        if c.sharded and context.adapter == "none":
            raise RecipeError(
                "`trainer.sharded` divides the frozen weights below an adapter, but `policy.adapter` is none, so all "
                "are trained: train an adapter, or set `sharded` to false."
            )
        if c.processes > 1 and context.lookups.may_import("`trainer.processes`"):
            from duelist.engines.launcher import require_devices

            require_devices("cpu" if context.on_cpu else "cuda", c.processes, "trainer.processes")

    def objective(self, preferences: Sequence[Preference]) -> Objective | None:
        """Return the loss that the settings and the preferences require; None for TRL's own.

        Raises:
            RecipeError: if the preferences have weights or shares, but the settings require a TRL loss without either.
        """
        from duelist.trainers.losses import Objective

        c = self.config
        plain = all(p.weight == 1 and p.share == 1 and p.penalty == 0 for p in preferences)
        if c.loss == "dpo" and c.ties != "rao_kupper" and plain and c.processes == 1:
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
        return self.train_here(policy, decisions, beta, seed, progress, optimizer)

    def train(
        self, policy: Policy, decisions: Sequence[Decision], beta: float, seed: int, progress: Progress
    ) -> Mapping[str, float]:
        if self.config.processes == 1:
            return self.train_here(policy, decisions, beta, seed, progress)
        from duelist.trainers.processes import train_in_processes

        return train_in_processes(self.config, policy, decisions, beta, seed, progress)

    def train_here(
        self,
        policy: Policy,
        decisions: Sequence[Decision],
        beta: float,
        seed: int,
        progress: Progress,
        optimizer: PersistentOptimizer | None = None,
    ) -> Mapping[str, float]:
        """Train in this process: the whole, or its share if torch's launcher started it among others.

        Args:
            optimizer: takes one step if given; otherwise a new one takes those of the settings.
            policy: see `train`, which describes the other arguments and the result.
            decisions: see `train`.
            beta: see `train`.
            seed: see `train`.
            progress: see `train`.
        """
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
