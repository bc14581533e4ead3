"""Settings of the reward model that a study trains."""

from __future__ import annotations

from typing import Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from duelist.models.embeddings.config import EmbeddingConfig


class RewardModelConfig(BaseModel):
    """Settings of the reward model that a study trains."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    embedding: EmbeddingConfig = Field(
        default_factory=EmbeddingConfig, description="Source of the embeddings that the model reads."
    )
    hidden: tuple[int, ...] = Field(default=(64, 64, 64), description="Units per hidden layer; [] for a linear model.")
    posterior: Literal["none", "ensemble", "laplace", "dropout"] = Field(
        default="none", description="Source of the rewards `reward_N2K`; none: a point estimate."
    )
    members: int = Field(default=5, ge=2, description="Number of ensemble members, K.")
    draws: int = Field(default=64, ge=2, description="Number of draws from a Laplace or dropout posterior, K.")
    dropout: float = Field(default=0.1, gt=0, lt=1, description="Share of units dropped, with posterior `dropout`.")
    normalize: bool = Field(
        default=True, description="Scale each embedding to norm √E first, which discards its length."
    )
    prior_precision: float = Field(
        default=3.0, gt=0, description="λ of the Gaussian prior on every weight: λ/2 ‖θ‖² is added to the total loss."
    )

    @model_validator(mode="after")
    def _sizes(self) -> Self:
        if any(units < 1 for units in self.hidden):
            raise ValueError(f"hidden must be positive numbers of units, but got {list(self.hidden)}")
        if self.posterior == "dropout" and not self.hidden:
            raise ValueError("posterior `dropout` drops hidden units: give at least one hidden layer")
        return self
