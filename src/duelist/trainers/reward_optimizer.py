"""Settings of a reward model's training. Imports no torch, so a recipe is validated without it."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, Field


class OptimizerConfig(BaseModel):
    """Settings of the reward model's training."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    learning_rate: float = Field(default=1e-3, gt=0, description="Learning rate of Adam, with cosine decay to zero.")
    steps: int = Field(default=60, ge=1, description="Optimizer steps per round; more if `passes` needs more.")
    passes: float = Field(default=4.0, ge=0, description="Minimum number of passes over the labels.")
    batch_size: int = Field(default=128, ge=1, description="Labels per step; all of them if there are fewer.")
    validation: float = Field(
        default=0.0,
        ge=0,
        lt=1,
        description="Share of the labels set aside to select the best weights during training (early stopping); "
        "0: train on all labels, to the end.",
    )
