"""Dueling bandits with confidence bounds: DeltaUCB, MaxMinLCB and InfoMax on a posterior's mean and deviation.

References: Melikidze et al., "ActiveUltraFeedback: Efficient Preference Data Generation using Active Learning", ICML
            2026, arXiv 2603.09692 (DeltaUCB, and the other two as baselines);
            Pásztor, Kassraie, Krause, "Bandits with Preference Feedback: A Stackelberg Game Perspective", NeurIPS 2024,
            arXiv 2406.16745 (MaxMinLCB);
            Saha, "Optimal Algorithms for Stochastic Contextual Preference Bandits", NeurIPS 2021 (InfoMax).

The rules, with μ(y, y') and s(y, y') the posterior mean and standard deviation of r(y) − r(y'):

    DeltaUCB    argmax_{y ≠ y'} μ(y, y') + β s(y, y')  =  argmax |μ| + β s over unordered pairs
    InfoMax     argmax_{y ≠ y'} s(y, y')
    MaxMinLCB   y = argmax_{y in M} min_{y' in M} μ(y, y') − β s(y, y'),  y' the minimiser for that y;
                M: the responses that no other one beats with certainty, μ(y, y') + β s(y, y') > 0 for every y'

The bounds apply to a margin, not to the probability of a preference. σ is increasing, so DeltaUCB and MaxMinLCB select
the same pairs either way. Published code adds the deviations of the two rewards; here s is the deviation of their
difference.

Every prompt gets one pair before any prompt gets a second. The papers pick for every prompt. If the budget is smaller
than the number of prompts, DeltaUCB and InfoMax take the prompts with the highest-scoring pairs, MaxMinLCB random
prompts.
"""

from __future__ import annotations

from abc import abstractmethod
from typing import ClassVar, final

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from duelist.acquisition.numerics.duels import Duels, first_of_largest
from duelist.acquisition.numerics.grouping import group_by_group, prompt_groups, without_noise
from duelist.acquisition.numerics.posterior import Posterior, PosteriorConfig
from duelist.acquisition.posterior_rule import Config, PosteriorRule
from duelist.acquisition.top import per_second
from duelist.types import Features, Selection

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]


class BoundsConfig(PosteriorConfig):
    """Settings of rules with confidence bounds."""

    beta: float = Field(default=1.0, ge=0, description="Distance of a bound from the mean, in standard deviations.")


class InfoMaxConfig(PosteriorConfig):
    """Settings of InfoMax: those of its posterior."""


class _BestOfEachPrompt(PosteriorRule[Config]):
    """Selection of every prompt's best pair, then its second best, and so on; highest score first within a pass."""

    within_prompts: ClassVar[bool] = True
    honours_cost = True
    unit: ClassVar[str]

    @abstractmethod
    def scores(self, mean_N: Floats, deviation_N: Floats) -> Floats:
        """Return the scores of N pairs from the posterior mean and standard deviation of their margins."""

    def select(self, features: Features, budget: int, rng: np.random.Generator) -> Selection:
        score_N = self.scores(*Posterior(features, self.config).moments())
        score_N, unit = per_second(score_N, self.unit, features.cost_N)
        indices_B = group_by_group(prompt_groups(features), without_noise(score_N))[:budget]
        return Selection(indices_B, score_N[indices_B], unit)


@final
class DeltaUCB(_BestOfEachPrompt[BoundsConfig]):
    """The pair of each prompt with the largest upper confidence bound on the difference of its rewards.

    Reference: Melikidze et al., "ActiveUltraFeedback", ICML 2026, arXiv 2603.09692.
    Formula:   argmax |μ| + β s,  μ and s the posterior mean and standard deviation of the margin.
    Unit:      that of the reward.
    Cost:      that of the posterior (Laplace: O(N D P)); then O(N log N).
    """

    unit: ClassVar[str] = "upper bound of |r1 − r2|"

    def __init__(self, config: BoundsConfig) -> None:
        self.config = config

    def scores(self, mean_N: Floats, deviation_N: Floats) -> Floats:
        return np.abs(mean_N) + self.config.beta * deviation_N


@final
class InfoMax(_BestOfEachPrompt[InfoMaxConfig]):
    """The pair of each prompt with the most uncertain margin: the largest posterior standard deviation.

    Reference: Saha, NeurIPS 2021; as a baseline in Melikidze et al., "ActiveUltraFeedback", arXiv 2603.09692.
    Formula:   argmax s,  s the posterior standard deviation of the margin.
    Unit:      that of the reward.
    Cost:      that of the posterior (Laplace: O(N D P)); then O(N log N).
    """

    unit: ClassVar[str] = "posterior standard deviation of the margin"

    def __init__(self, config: InfoMaxConfig) -> None:
        self.config = config

    def scores(self, mean_N: Floats, deviation_N: Floats) -> Floats:
        return deviation_N


@final
class MaxMinLCB(PosteriorRule[BoundsConfig]):
    """The response with the most certain win against its strongest rival, and that rival.

    Further pairs of a prompt are selected by the same game over its remaining pairs. If fewer than two plausible
    responses have a remaining pair, all of the prompt's responses play.

    Reference: Pásztor, Kassraie, Krause, NeurIPS 2024, arXiv 2406.16745; a baseline in Melikidze et al., 2026.
    Formula:   y = argmax_{y in M} min_{y' in M} μ(y, y') − β s(y, y'),  y' the minimiser for that y,
               M = {y: μ(y, y') + β s(y, y') > 0 for every y'}.
    Unit:      that of the reward: the lower confidence bound of the margin.
    Cost:      that of the posterior (Laplace: O(N D P)); then O(N) per pass over the prompts.
    """

    within_prompts: ClassVar[bool] = True

    def __init__(self, config: BoundsConfig) -> None:
        self.config = config

    def select(self, features: Features, budget: int, rng: np.random.Generator) -> Selection:
        mean_N, deviation_N = (without_noise(v) for v in Posterior(features, self.config).moments())
        duels = Duels.of(features)
        mean_J = duels.sign_J * mean_N[duels.pair_J]
        width_J = self.config.beta * deviation_N[duels.pair_J]
        plausible_A = np.logical_and.reduceat(mean_J + width_J > 0, duels.start_A)
        plausible_J = plausible_A[duels.from_J] & plausible_A[duels.to_J]
        lower_J = mean_J - width_J

        def pick(available_J: NDArray[np.bool_], most: int) -> tuple[Integers, Floats]:
            edge_B = rng.permutation(_play(duels, lower_J, available_J, plausible_J))[:most]
            return edge_B, lower_J[edge_B]

        indices_B, scores_B, _ = duels.prompt_by_prompt(pick, budget)
        unit = "lower bound of the margin over the strongest rival"
        return Selection(indices_B, scores_B, unit, {"plausible_responses": float(plausible_A.sum())})


def _play(duels: Duels, lower_J: Floats, available_J: NDArray[np.bool_], plausible_J: NDArray[np.bool_]) -> Integers:
    """Return the edge played by each group that has an available edge."""
    edges_of_G = duels.start_A[duels.start_G]
    among_J = available_J & plausible_J
    some_G = np.logical_or.reduceat(among_J, edges_of_G)
    group_J = duels.group_A[duels.from_J]
    among_J = np.where(some_G[group_J], among_J, available_J)
    # The follower's reply to each leader: the smallest lower bound. Leaders without a remaining edge never win.
    answer_A, edge_A = first_of_largest(np.where(among_J, -lower_J, -np.inf), duels.start_A)
    worst_A = np.where(np.isneginf(answer_A), -np.inf, -answer_A)
    _, leader_G = first_of_largest(worst_A, duels.start_G)
    playing_G = np.logical_or.reduceat(available_J, edges_of_G)
    return edge_A[leader_G[playing_G]]
