"""Simulated annotators that prefer the response with the higher reward.

Reference: Bradley and Terry, 1952, for noisy labels; ActiveDPO (arXiv 2505.19241), Section 4, uses a reward model.
Formula:   hard: a if r_a > r_b, b if r_a < r_b, a tie if equal;
           bradley_terry: a with probability σ((r_a − r_b) / temperature).
Cost:      one reward per distinct response.
"""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import Field
from scipy.special import expit

from duelist.annotators.base import Annotator, label_id
from duelist.models.rewards.functions import (
    FunctionReward,
    FunctionRewardConfig,
    ModelReward,
    ModelRewardConfig,
    Reward,
)
from duelist.progress import Progress
from duelist.seeding import hash_uniform
from duelist.types import Batch, Label, Outcome, Question

Choice = Literal["hard", "bradley_terry"]


class RewardFunctionConfig(FunctionRewardConfig):
    """Settings of the `reward_function` annotator."""

    choice: Choice = Field(
        default="hard",
        description="hard: the higher reward wins; bradley_terry: it wins with Bradley–Terry probability.",
    )
    temperature: float = Field(default=1.0, gt=0, description="Bradley–Terry temperature, in units of reward.")


class RewardModelAnnotatorConfig(ModelRewardConfig):
    """Settings of the `reward_model` annotator."""

    choice: Choice = Field(
        default="hard",
        description="hard: the higher reward wins; bradley_terry: it wins with Bradley–Terry probability.",
    )
    temperature: float = Field(default=1.0, gt=0, description="Bradley–Terry temperature, in units of reward.")


class RewardFunctionAnnotator(Annotator):
    """Annotator by a Python reward function with the signature of TRL's reward functions."""

    reward: Reward

    def __init__(self, config: RewardFunctionConfig) -> None:
        self.config = config
        self.reward = FunctionReward(config)
        self.label_temperature = _label_temperature(config.choice, config.temperature)

    def annotate(self, batch: Batch, seed: int, progress: Progress) -> list[Label]:
        name = f"reward_function:{self.config.function}"
        return _decide(self.reward, batch, self.config.choice, self.config.temperature, name, seed, progress)


class RewardModelAnnotator(Annotator):
    """Annotator by a reward model."""

    reward: Reward

    def __init__(self, config: RewardModelAnnotatorConfig) -> None:
        self.config = config
        self.reward = ModelReward(config, "annotator")
        self.label_temperature = _label_temperature(config.choice, config.temperature)

    def annotate(self, batch: Batch, seed: int, progress: Progress) -> list[Label]:
        name = f"reward_model:{Path(self.config.model).name}"
        return _decide(self.reward, batch, self.config.choice, self.config.temperature, name, seed, progress)


def _label_temperature(choice: Choice, temperature: float) -> float | None:
    """Return T in P(a) = σ((r_a − r_b) / T); None for a hard choice, which ignores the scale of the reward."""
    return temperature if choice == "bradley_terry" else None


def _decide(
    reward: Reward, batch: Batch, choice: Choice, temperature: float, name: str, seed: int, progress: Progress
) -> list[Label]:
    responses = {r.id: r for pair in batch.pairs for r in (pair.a, pair.b)}
    with progress.stage("Annotating", len(batch.pairs)) as advance:
        prompts = [batch.prompts[r.prompt_id] for r in responses.values()]
        rewards = dict(zip(responses, reward.score(prompts, list(responses.values())).tolist(), strict=True))
        labels = [
            Label(pair.id, name, _outcome(pair, rewards, choice, temperature, seed), id=label_id(seed, pair, name))
            for pair in batch.pairs
        ]
        advance(len(batch.pairs))
    return labels


def _outcome(pair: Question, rewards: dict[str, float], choice: Choice, temperature: float, seed: int) -> Outcome:
    difference = rewards[pair.a.id] - rewards[pair.b.id]
    if choice == "hard":
        return "tie" if difference == 0 else ("a" if difference > 0 else "b")
    # The noise depends only on the pair and the seed. The same annotator gives the same label again, in any order and
    # in any study with the same seed, so two acquisitions can be compared under the same noise.
    first_is_a = pair.a.id < pair.b.id
    p_first = expit((difference if first_is_a else -difference) / temperature)
    first_wins = hash_uniform(seed, "bradley_terry", pair.id) < p_first
    return "a" if first_wins == first_is_a else "b"
