"""A Bradley–Terry reward model on fixed embeddings, trained from scratch each round on all labels so far.

Reference: Bradley and Terry, 1952; Shen, Sun, Ton, arXiv 2502.04354, equation (1), Section 5. For questions of
           more than two responses: Plackett, Applied Statistics 24, 1975; Luce, 1959 (see
           `duelist.trainers.ranking_losses`).
Formula:   −Σ [s log σ(r_1 − r_2) + (1 − s) log σ(r_2 − r_1)] + λ/2 ‖θ‖²,  s the first response's share of the votes;
           of a ranking, −Σ_j log softmax(s_j r over what is left), s_j the scale of stage j.
Unit:      nats.
Cost:      `steps` batches, or `passes` over the labels, through a small network.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, ClassVar, Literal

from pydantic import ConfigDict, Field

from duelist.progress import Progress
from duelist.trainers.base import Trainer, TrainingPlan
from duelist.trainers.reward_optimizer import OptimizerConfig
from duelist.types import VoteRule

if TYPE_CHECKING:
    from duelist.models.rewards.network import RewardModel
    from duelist.trainers.comparisons import TrainingData


class BradleyTerryConfig(OptimizerConfig):
    """Settings of the `bradley_terry` trainer."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    votes: VoteRule = Field(
        default="every",
        description="How several people's votes on a pair are used: each by itself; as one label by their majority; as "
        "shares (soft); or by the posterior of a model of the annotators' reliability. Vote counts of one label: by "
        "their majority, or as shares (soft). A judge's label: by its outcome, or its probability (soft).",
    )
    ties: Literal["drop", "half"] = Field(
        default="drop", description="Ties of pairs: dropped, or counted as half a preference each way."
    )
    stage_scales: Literal["fitted", "equal"] = Field(
        default="fitted",
        description="How much the lower places of a ranking count: fitted to the answers so far, or as the first.",
    )


class BradleyTerry(Trainer["RewardModel", "TrainingData"]):
    """Trainer of the reward model that the recipe's `reward_model` describes."""

    trains: ClassVar[Literal["policy", "reward_model"]] = "reward_model"

    def __init__(self, config: BradleyTerryConfig) -> None:
        self.config = config

    @property
    def plan(self) -> TrainingPlan:
        c = self.config
        return TrainingPlan(
            "all",
            "from_reference",
            "initial",
            c.votes,
            ties=c.ties == "half",
            takes_sets=True,
            stage_scales=c.stage_scales,
        )

    def train(
        self, model: RewardModel, data: TrainingData, beta: float, seed: int, progress: Progress
    ) -> Mapping[str, float]:
        from duelist.trainers.comparisons import RankedComparisons
        from duelist.trainers.reward_fitting import fit_reward_model

        if isinstance(data, RankedComparisons) and self.config.stage_scales == "equal":
            data = replace(data, scales=())
        return fit_reward_model(model, data, self.config, seed, progress)
