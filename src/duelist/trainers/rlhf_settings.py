"""Settings of the trainer `rlhf`."""

from __future__ import annotations

from typing import Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from duelist.settings.library_arguments import require_arguments
from duelist.trainers.trl_settings import require_trl_arguments

# TRL's configuration for each algorithm.
CONFIGS = {"rloo": "RLOOConfig", "grpo": "GRPOConfig"}


class RewardClassifierConfig(BaseModel):
    """Settings of the reward model and its training."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    model: str | None = Field(default=None, description="Initial model; null: the policy's base model.")
    lora: dict[str, Any] | None = Field(
        default_factory=lambda: {"r": 16, "lora_alpha": 32, "target_modules": "all-linear"},
        description="Arguments of peft.LoraConfig; null trains all weights.",
    )
    train: dict[str, Any] = Field(default_factory=dict, description="Arguments of trl.RewardConfig.")
    keep: bool = Field(
        default=False,
        description="Keep each round's reward model (all its weights) in reward_model/ beside the policy's weights; "
        "sampler `t_pilaf` with `reward: explicit` needs it.",
    )

    @field_validator("lora")
    @classmethod
    def _known_to_peft(cls, lora: dict[str, Any] | None) -> dict[str, Any] | None:
        require_arguments(lora or {}, "LoraConfig", {"task_type": "it is SEQ_CLS always"})
        return lora

    @field_validator("train")
    @classmethod
    def _known_to_trl(cls, train: dict[str, Any]) -> dict[str, Any]:
        require_trl_arguments(train, "RewardConfig")
        return train


class RLHFConfig(BaseModel):
    """Settings of `rlhf`."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    algorithm: Literal["rloo", "grpo"] = Field(default="rloo", description="TRL's RLOOTrainer or GRPOTrainer.")
    accumulate: Literal["all", "round"] = Field(
        default="all", description="Train the reward model on all labels so far, or this round's."
    )
    restart: Literal["continue", "from_reference"] = Field(
        default="continue", description="Start from last round's policy, or from the reference each round."
    )
    reference: Literal["initial", "previous"] = Field(
        default="initial", description="Keep the policy close to the initial one, or to last round's."
    )
    reward_model: RewardClassifierConfig = Field(
        default_factory=RewardClassifierConfig, description="The reward model."
    )
    train: dict[str, Any] = Field(
        default_factory=dict,
        description="Arguments of trl.RLOOConfig or GRPOConfig: max_completion_length, num_generations ...",
    )

    @model_validator(mode="after")
    def _known_to_trl(self) -> Self:
        require_trl_arguments(self.train, CONFIGS[self.algorithm])
        return self
