"""Dueling bandits by confidence bounds: DeltaUCB, MaxMinLCB and InfoMax on a posterior's mean and deviation.

References: Melikidze et al., "ActiveUltraFeedback: Efficient Preference Data Generation using Active Learning", ICML
            2026, arXiv 2603.09692 (DeltaUCB, and the other two as baselines);
            Pásztor, Kassraie, Krause, "Bandits with Preference Feedback: A Stackelberg Game Perspective", NeurIPS 2024,
            arXiv 2406.16745 (MaxMinLCB);
            Saha, "Optimal Algorithms for Stochastic Contextual Preference Bandits", NeurIPS 2021 (InfoMax).

What is implemented, with μ(y, y') and s(y, y') the posterior mean and standard deviation of r(y) − r(y'):

    DeltaUCB    argmax_{y ≠ y'} μ(y, y') + β s(y, y')  =  argmax |μ| + β s over unordered pairs
    InfoMax     argmax_{y ≠ y'} s(y, y')
    MaxMinLCB   y = argmax_{y in M} min_{y' in M} μ(y, y') − β s(y, y'),  y' the minimiser for that y;
                M: the responses that no other one beats for sure, μ(y, y') + β s(y, y') > 0 for every y'

The bounds are on a margin, not on a preference's probability: σ rises, so the choice is the same for DeltaUCB and
MaxMinLCB. Published code adds the deviations of two responses' rewards; here s is that of their difference.

One pair of each prompt is picked before any prompt's second. The papers pick for every prompt; where the budget is
smaller than that, DeltaUCB and InfoMax take the prompts whose pair scores highest, MaxMinLCB random ones.
"""

from __future__ import annotations

from typing import ClassVar

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from duelist.acquisition.base import Acquisition
from duelist.acquisition.numerics.duels import Duels, first_of_largest
from duelist.acquisition.numerics.grouping import group_by_group, prompt_groups, without_noise
from duelist.acquisition.numerics.posterior import Posterior, PosteriorConfig
from duelist.types import Features, Selection

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]


class BoundsConfig(PosteriorConfig):
    """Settings of rules that use confidence bounds."""

    beta: float = Field(default=1.0, ge=0, description="How many standard deviations a bound is from the mean.")


class InfoMaxConfig(PosteriorConfig):
    """Settings of InfoMax: those of its posterior."""


class DeltaUCB(Acquisition):
    """The pair of a prompt whose rewards may differ most: the largest upper confidence bound of the difference.

    Reference: Melikidze et al., "ActiveUltraFeedback", ICML 2026, arXiv 2603.09692.
    Formula:   argmax |μ| + β s,  μ and s the posterior mean and standard deviation of the margin.
    Unit:      that of the reward.
    Cost:      that of the posterior (Laplace: O(N D P)); then O(N log N).
    """

    within_prompts: ClassVar[bool] = True
    honours_cost: ClassVar[bool] = True

    def __init__(self, config: BoundsConfig) -> None:
        self.config = config

    @property
    def needs(self) -> frozenset[str]:
        return self.config.needs

    def select(self, features: Features, budget: int, rng: np.random.Generator) -> Selection:
        mean_N, deviation_N = Posterior(features, self.config).moments()
        bound_N = np.abs(mean_N) + self.config.beta * deviation_N
        return _best_of_each_prompt(features, bound_N, budget, "upper bound of |r1 − r2|")


class InfoMax(Acquisition):
    """The pair of a prompt of whose margin least is known: the largest posterior standard deviation.

    Reference: Saha, NeurIPS 2021; as a baseline in Melikidze et al., "ActiveUltraFeedback", arXiv 2603.09692.
    Formula:   argmax s,  s the posterior standard deviation of the margin.
    Unit:      that of the reward.
    Cost:      that of the posterior (Laplace: O(N D P)); then O(N log N).
    """

    within_prompts: ClassVar[bool] = True
    honours_cost: ClassVar[bool] = True

    def __init__(self, config: InfoMaxConfig) -> None:
        self.config = config

    @property
    def needs(self) -> frozenset[str]:
        return self.config.needs

    def select(self, features: Features, budget: int, rng: np.random.Generator) -> Selection:
        _, deviation_N = Posterior(features, self.config).moments()
        return _best_of_each_prompt(features, deviation_N, budget, "posterior standard deviation of the margin")


def _best_of_each_prompt(features: Features, score_N: Floats, budget: int, unit: str) -> Selection:
    """The highest score of every prompt, then the second highest, and so on; within one pass the highest first."""
    if features.cost_N is not None:
        score_N, unit = score_N / features.cost_N, f"{unit} per second"
    indices_B = group_by_group(prompt_groups(features), without_noise(score_N))[:budget]
    return Selection(indices_B, score_N[indices_B], unit)


class MaxMinLCB(Acquisition):
    """The response that wins most surely against its strongest rival, and that rival.

    A prompt's further pairs are chosen by the same game over the pairs it has left. Where fewer than two plausible
    responses have a pair left, all of the prompt's responses play.

    Reference: Pásztor, Kassraie, Krause, NeurIPS 2024, arXiv 2406.16745; a baseline in Melikidze et al., 2026.
    Formula:   y = argmax_{y in M} min_{y' in M} μ(y, y') − β s(y, y'),  y' the minimiser for that y,
               M = {y: μ(y, y') + β s(y, y') > 0 for every y'}.
    Unit:      that of the reward: the lower confidence bound of the margin.
    Cost:      that of the posterior (Laplace: O(N D P)); then O(N) a round of prompts.
    """

    within_prompts: ClassVar[bool] = True

    def __init__(self, config: BoundsConfig) -> None:
        self.config = config

    @property
    def needs(self) -> frozenset[str]:
        return self.config.needs

    def select(self, features: Features, budget: int, rng: np.random.Generator) -> Selection:
        mean_N, deviation_N = (without_noise(v) for v in Posterior(features, self.config).moments())
        duels = Duels.of(features)
        mean_E = duels.sign_E * mean_N[duels.pair_E]
        width_E = self.config.beta * deviation_N[duels.pair_E]
        plausible_A = np.logical_and.reduceat(mean_E + width_E > 0, duels.start_A)
        plausible_E = plausible_A[duels.from_E] & plausible_A[duels.to_E]
        available_E = np.ones(len(mean_E), bool)
        picked: list[Integers] = []
        scores: list[Floats] = []
        left = budget
        while left:
            edge_B = _play(duels, mean_E - width_E, available_E, plausible_E)
            edge_B = rng.permutation(edge_B)[:left]
            available_E &= ~np.isin(duels.pair_E, duels.pair_E[edge_B])
            picked.append(duels.pair_E[edge_B])
            scores.append((mean_E - width_E)[edge_B])
            left -= len(edge_B)
        unit = "lower bound of the margin over the strongest rival"
        return Selection(
            np.concatenate(picked), np.concatenate(scores), unit, {"plausible_responses": float(plausible_A.sum())}
        )


def _play(duels: Duels, lower_E: Floats, available_E: NDArray[np.bool_], plausible_E: NDArray[np.bool_]) -> Integers:
    """The edge that each group with an available one plays."""
    edges_of_G = duels.start_A[duels.start_G]
    among_E = available_E & plausible_E
    some_G = np.logical_or.reduceat(among_E, edges_of_G)
    group_E = duels.group_A[duels.from_E]
    among_E = np.where(some_G[group_E], among_E, available_E)
    # The follower's answer to each leader: the smallest lower bound. Leaders without an edge left never win.
    answer_A, edge_A = first_of_largest(np.where(among_E, -lower_E, -np.inf), duels.start_A)
    worst_A = np.where(np.isneginf(answer_A), -np.inf, -answer_A)
    _, leader_G = first_of_largest(worst_A, duels.start_G)
    playing_G = np.logical_or.reduceat(available_E, edges_of_G)
    return edge_A[leader_G[playing_G]]
