"""Simulated annotators that prefer the response with the higher reward.

Reference: Bradley and Terry, 1952, and Plackett and Luce for noisy labels; ActiveDPO (arXiv 2505.19241), Section 4,
           uses a reward model.
Formula:   hard: a if r_a > r_b, b if r_a < r_b, a tie if equal; larger questions likewise;
           bradley_terry: a with probability σ((r_a − r_b) / temperature), and its generalisations to larger questions
           (`simulated_choice`).
Cost:      one reward per distinct response.
"""

from __future__ import annotations

from pathlib import Path

from pydantic import Field

from duelist.annotators.base import Annotator
from duelist.annotators.simulated_choice import Choice, SimulatedChoice
from duelist.models.rewards.functions import (
    FunctionReward,
    FunctionRewardConfig,
    ModelReward,
    ModelRewardConfig,
    Reward,
)
from duelist.progress import Progress
from duelist.types import Answer, Batch, Label


class RewardFunctionConfig(FunctionRewardConfig):
    """Settings of the `reward_function` annotator."""

    choice: Choice = Field(
        default="hard",
        description="hard: the higher reward wins; bradley_terry: it wins with Bradley–Terry probability; rankings "
        "follow Plackett–Luce.",
    )
    temperature: float = Field(default=1.0, gt=0, description="Bradley–Terry temperature, in units of reward.")
    place_noise: float = Field(
        default=0.0,
        ge=0,
        description="Carelessness lower down a ranking: growth of the temperature per place, as a share of it.",
    )


class RewardModelAnnotatorConfig(ModelRewardConfig):
    """Settings of the `reward_model` annotator."""

    choice: Choice = Field(
        default="hard",
        description="hard: the higher reward wins; bradley_terry: it wins with Bradley–Terry probability; rankings "
        "follow Plackett–Luce.",
    )
    temperature: float = Field(default=1.0, gt=0, description="Bradley–Terry temperature, in units of reward.")
    place_noise: float = Field(
        default=0.0,
        ge=0,
        description="Carelessness lower down a ranking: growth of the temperature per place, as a share of it.",
    )


class RewardFunctionAnnotator(Annotator):
    """Annotator by a Python reward function with the signature of TRL's reward functions."""

    reward: Reward

    def __init__(self, config: RewardFunctionConfig) -> None:
        self.config = config
        self.reward = FunctionReward(config)
        self.label_temperature = _label_temperature(config.choice, config.temperature)

    def annotate(self, batch: Batch, seed: int, progress: Progress) -> list[Label | Answer]:
        name = f"reward_function:{self.config.function}"
        return _decide(self.reward, batch, _choice(self.config, name, seed), progress)


class RewardModelAnnotator(Annotator):
    """Annotator by a reward model."""

    reward: Reward

    def __init__(self, config: RewardModelAnnotatorConfig) -> None:
        self.config = config
        self.reward = ModelReward(config, "annotator")
        self.label_temperature = _label_temperature(config.choice, config.temperature)

    def annotate(self, batch: Batch, seed: int, progress: Progress) -> list[Label | Answer]:
        name = f"reward_model:{Path(self.config.model).name}"
        return _decide(self.reward, batch, _choice(self.config, name, seed), progress)


def _label_temperature(choice: Choice, temperature: float) -> float | None:
    """Return T in P(a) = σ((r_a − r_b) / T); None for a hard choice, which ignores the scale of the reward."""
    return temperature if choice == "bradley_terry" else None


def _choice(config: RewardFunctionConfig | RewardModelAnnotatorConfig, name: str, seed: int) -> SimulatedChoice:
    return SimulatedChoice(name, seed, config.choice, config.temperature, config.place_noise)


def _decide(reward: Reward, batch: Batch, choice: SimulatedChoice, progress: Progress) -> list[Label | Answer]:
    responses = {r.id: r for question in batch.questions for r in question.responses}
    with progress.stage("Annotating", len(batch.questions)) as advance:
        prompts = [batch.prompts[r.prompt_id] for r in responses.values()]
        rewards = dict(zip(responses, reward.score(prompts, list(responses.values())).tolist(), strict=True))
        answers = [choice.answer(question, rewards) for question in batch.questions]
        advance(len(batch.questions))
    return answers
