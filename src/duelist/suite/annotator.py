"""Simulated annotator whose labels do not follow Bradley and Terry: flips, carelessness, ties and a bias to length.

Reference: Bradley and Terry, 1952, for what is left when every setting is 0; misclassified binary responses: Copas,
           "Binary regression models for contaminated data", JRSS B 50, 1988.
Formula:   with the margin m = (r_a − r_b)/T + b (words_a − words_b) in label log-odds: if |m| <= t, a tie; otherwise
           P(a) = f + (1 − 2f) σ(m). A share c of the questions goes to an annotator who answers a or b by coin.
Unit:      log-odds of a label.
Cost:      one reward per distinct response.

`reward` is the true reward r, and `label_temperature` is T, so J is measured on the truth whatever the labels say.
"""

from __future__ import annotations

from typing import final

import numpy as np
from numpy.typing import NDArray
from pydantic import Field
from scipy.special import expit

from duelist.annotators.base import Annotator, label_id
from duelist.errors import DataError
from duelist.models.rewards.functions import FunctionReward, FunctionRewardConfig, Reward
from duelist.progress import Progress
from duelist.seeding import derived_seed, hash_uniform
from duelist.types import Batch, Label, Outcome, Question, Response


class NoisyAnnotatorConfig(FunctionRewardConfig):
    """Settings of the simulated annotator. With every share, width and bias 0 it is `choice: bradley_terry`."""

    temperature: float = Field(default=1.0, gt=0, description="T, in units of the reward.")
    flip: float = Field(default=0.0, ge=0, le=0.5, description="f, the probability that a label is turned round.")
    careless: float = Field(default=0.0, ge=0, le=1, description="c, the share of questions answered by coin.")
    tie: float = Field(default=0.0, ge=0, description="t, the largest margin that counts as equal, in log-odds.")
    length_bias: float = Field(default=0.0, description="b, log-odds for each word that a response is longer.")
    stream: int = Field(default=0, ge=0, description="Which stream of noise: others are independent of stream 0.")


@final
class NoisyAnnotator(Annotator):
    """Annotator by a Python reward function, with noise that a Bradley–Terry model does not describe."""

    reward: Reward

    def __init__(self, config: NoisyAnnotatorConfig) -> None:
        self.config = config
        self.reward = FunctionReward(config)
        self.label_temperature = config.temperature

    def annotate(self, batch: Batch, seed: int, progress: Progress) -> list[Label]:
        seed = seed if self.config.stream == 0 else derived_seed(seed, "stream", self.config.stream)
        responses = {r.id: r for question in batch.questions for r in question.responses}
        prompts = [batch.prompts[r.prompt_id] for r in responses.values()]
        reward_R = self.reward.score(prompts, list(responses.values()))
        rewards = dict(zip(responses, reward_R.tolist(), strict=True))
        labels = []
        with progress.stage("Annotating", len(batch.questions)) as advance:
            for question in batch.questions:
                careless = hash_uniform(seed, "careless", question.id) < self.config.careless
                name = "careless" if careless else "careful"
                outcome = self._outcome(question, rewards, seed, careless)
                labels.append(Label(question.id, name, outcome, id=label_id(seed, question, name)))
                advance(1)
        return labels

    def _outcome(self, pair: Question, rewards: dict[str, float], seed: int, careless: bool) -> Outcome:
        if pair.k != 2:
            raise DataError(f"This annotator labels pairs only, but question {pair.id} has {pair.k} responses.")
        first, second = sorted((pair.a, pair.b), key=lambda r: r.id)
        difference = rewards[first.id] - rewards[second.id]
        margin = true_margins(self.config, np.array([difference]), np.array([words(first) - words(second)]))
        p_first, p_second = decided_probabilities(self.config, margin)[0].tolist()
        if careless:
            p_first = p_second = 0.5
        if p_first + p_second == 0.0:
            return "tie"
        first_wins = hash_uniform(seed, "bradley_terry", pair.id) < p_first  # as `SimulatedChoice` draws it
        return "a" if first_wins == (first is pair.a) else "b"


def words(response: Response) -> int:
    """Return the number of words of a response."""
    return len(response.text.split())


def true_margins(
    config: NoisyAnnotatorConfig, difference_N: NDArray[np.float64], longer_N: NDArray[np.int64]
) -> NDArray[np.float64]:
    """Return m of N pairs, in log-odds, from the differences of their true rewards and of their numbers of words."""
    return np.asarray(difference_N / config.temperature + config.length_bias * longer_N, dtype=np.float64)


def decided_probabilities(config: NoisyAnnotatorConfig, margin_N: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the probabilities of `a` and `b` of N pairs that a careful annotator gets, `[N, 2]`; (0, 0) for a tie."""
    p_N = config.flip + (1 - 2 * config.flip) * expit(margin_N)
    p_N2 = np.stack([p_N, 1 - p_N], axis=1)
    if config.tie > 0:
        p_N2[np.abs(margin_N) <= config.tie] = 0.0
    return p_N2


def label_probabilities(config: NoisyAnnotatorConfig, margin_N: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the probabilities of `a` and `b` of N pairs over careful and careless annotators, `[N, 2]`."""
    return (1 - config.careless) * decided_probabilities(config, margin_N) + config.careless / 2
