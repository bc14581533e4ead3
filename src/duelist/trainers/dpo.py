"""Direct preference optimisation with TRL's `DPOTrainer`.

Reference: Rafailov et al., "Direct Preference Optimization", NeurIPS 2023, arXiv 2305.18290, equation (7); equation (2)
           in ActiveDPO (arXiv 2505.19241).
Formula:   −log σ(r(x, y_chosen) − r(x, y_rejected)),  r(x, y) = β log(π_θ(y|x) / π_ref(y|x)).
Unit:      nats.
"""

from __future__ import annotations

import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator

from duelist.errors import RecipeError
from duelist.models.policy import Policy
from duelist.models.process_state import global_generators_kept
from duelist.progress import Progress
from duelist.settings import require_arguments
from duelist.trainers.base import TakesSteps, Trainer, TrainingPlan
from duelist.trainers.carried import CarriedOptimizer, one_step
from duelist.types import Preference

# Keys of TRL's DPOConfig that Duelist itself decides, and where a recipe sets them instead.
DECIDED_ELSEWHERE = {
    "beta": "set the recipe's `beta`, which the acquisition and the evaluation use as well",
    "seed": "set the recipe's `seed`",
    "data_seed": "set the recipe's `seed`",
    "output_dir": "the study's folder holds what is trained",
    "max_length": "Duelist never cuts a sequence: one that does not fit is refused",
    "truncation_mode": "Duelist never cuts a sequence: one that does not fit is refused",
    "precompute_ref_log_probs": "TRL would take them from the wrong reference when an adapter is trained further",
    "sync_ref_model": "set trainer.reference to `initial` or `previous`",
    "disable_tqdm": "Duelist shows its own progress; `--quiet` turns it off",
    "push_to_hub": "upload the study's adapter/ folder with `hf upload`",
    "resume_from_checkpoint": "a study resumes by itself",
}


class DPOTrainerConfig(BaseModel):
    """Settings of the `dpo` trainer."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    accumulate: Literal["all", "round"] = Field(
        default="all", description="Train on all labels so far, or this round's."
    )
    restart: Literal["continue", "from_reference"] = Field(
        default="continue", description="Start from last round's policy, or from the reference each round."
    )
    reference: Literal["initial", "previous"] = Field(
        default="initial", description="Hold the policy close to the initial one, or to last round's."
    )
    train: dict[str, Any] = Field(
        default_factory=dict,
        description="Handed to trl.DPOConfig whole: learning_rate, num_train_epochs, loss_type ...",
    )

    @field_validator("train")
    @classmethod
    def _known_to_trl(cls, train: dict[str, Any]) -> dict[str, Any]:
        from trl import DPOConfig

        require_arguments(train, DPOConfig, DECIDED_ELSEWHERE)
        return train


class DPO(Trainer, TakesSteps):
    """Train the policy's adapter with TRL. An optimizer is made anew each round; no adapter or wrapper piles up."""

    def __init__(self, config: DPOTrainerConfig) -> None:
        self.config = config

    @property
    def plan(self) -> TrainingPlan:
        return TrainingPlan(self.config.accumulate, self.config.restart, self.config.reference)

    def train(
        self, policy: Policy, preferences: Sequence[Preference], beta: float, seed: int, progress: Progress
    ) -> Mapping[str, float]:
        return self._train(policy, preferences, beta, seed, progress, None)

    def step(
        self,
        policy: Policy,
        preferences: Sequence[Preference],
        beta: float,
        seed: int,
        carried: CarriedOptimizer,
        progress: Progress,
    ) -> Mapping[str, float]:
        return self._train(policy, preferences, beta, seed, progress, carried)

    def _train(
        self,
        policy: Policy,
        preferences: Sequence[Preference],
        beta: float,
        seed: int,
        progress: Progress,
        carried: CarriedOptimizer | None,
    ) -> Mapping[str, float]:
        from duelist.trainers.trl_dpo import StepProgress, dpo_trainer, tokenized_dataset

        dataset = tokenized_dataset(preferences)
        with tempfile.TemporaryDirectory(prefix="duelist-dpo-") as scratch, global_generators_kept():
            config = self._trl_config(beta, seed, scratch, on_cpu=policy.device.type == "cpu")
            if carried is not None:
                config = replace(config, **one_step(len(preferences), config.per_device_train_batch_size))
            with dpo_trainer(policy, policy.reference_folder, dataset, config) as trainer:
                if carried is not None:
                    carried.hand_to(trainer)
                trainer_steps = _optimizer_steps(trainer)
                with progress.stage("Training", trainer_steps) as advance:
                    trainer.add_callback(StepProgress(advance))
                    outcome = trainer.train()
        return {"train_loss": float(outcome.training_loss), "optimizer_steps": float(outcome.global_step)}

    def _trl_config(self, beta: float, seed: int, scratch: str, on_cpu: bool) -> Any:
        from trl import DPOConfig

        settings: dict[str, Any] = {"save_strategy": "no", "report_to": [], "logging_steps": 10}
        if on_cpu:
            # TRL's own defaults are bf16 and gradient checkpointing, meant for GPUs.
            settings |= {"use_cpu": True, "bf16": False, "gradient_checkpointing": False}
        settings |= self.config.train
        settings |= {
            "output_dir": scratch,
            "beta": beta,
            "seed": seed % 2**32,
            "max_length": None,
            "disable_tqdm": True,
        }
        try:
            return DPOConfig(**settings)
        except (TypeError, ValueError) as error:
            raise RecipeError(
                f"trainer.train must be arguments of trl.DPOConfig, but it refused them: {error}"
            ) from error


def _optimizer_steps(trainer: Any) -> int:
    args = trainer.args
    if args.max_steps > 0:
        return int(args.max_steps)
    batches = len(trainer.get_train_dataloader())
    steps_per_epoch = -(-batches // int(args.gradient_accumulation_steps))
    return max(1, round(steps_per_epoch * float(args.num_train_epochs)))
