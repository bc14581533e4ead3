"""A Bradley–Terry reward model on fixed embeddings, trained from scratch each round on all labels so far.

Reference: Bradley and Terry, 1952; Shen, Sun, Ton, arXiv 2502.04354, Section 5.
Formula:   −Σ [s log σ(r_1 − r_2) + (1 − s) log σ(r_2 − r_1)] + λ/2 ‖θ‖²,  s the first response's share of the votes.
Unit:      nats.
Cost:      `steps` batches, or `passes` over the labels, through a small network.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar, Literal

from pydantic import ConfigDict, Field

from duelist.models.rewards.network import RewardModel
from duelist.progress import Progress
from duelist.trainers.base import Trainer, TrainingPlan
from duelist.trainers.reward_fitting import Comparisons, OptimizerConfig, fit_reward_model
from duelist.types import VoteRule


class BradleyTerryConfig(OptimizerConfig):
    """Settings of the `bradley_terry` trainer."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    votes: VoteRule = Field(
        default="majority", description="How to use vote counts: as one label, or (soft) as the share of the votes."
    )
    ties: Literal["drop", "half"] = Field(
        default="drop", description="Ties: dropped, or counted as half a preference each way."
    )


class BradleyTerry(Trainer[RewardModel, Comparisons]):
    """Trainer of the reward model that the recipe's `reward_model` describes."""

    trains: ClassVar[Literal["policy", "reward_model"]] = "reward_model"

    def __init__(self, config: BradleyTerryConfig) -> None:
        self.config = config

    @property
    def plan(self) -> TrainingPlan:
        c = self.config
        return TrainingPlan("all", "from_reference", "initial", c.votes, ties=c.ties == "half")

    def train(
        self, model: RewardModel, data: Comparisons, beta: float, seed: int, progress: Progress
    ) -> Mapping[str, float]:
        return fit_reward_model(model, data, self.config, seed, progress)
