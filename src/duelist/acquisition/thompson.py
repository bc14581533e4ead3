"""Thompson sampling over pairs of responses: two draws from the posterior select the two responses of a prompt.

References: Wu, Liu, "Double Thompson Sampling for Dueling Bandits", NeurIPS 2016, arXiv 1604.07101;
            Dwaracherla, Asghari, Hao, Van Roy, "Efficient Exploration for LLMs", ICML 2024, arXiv 2402.00396
            (for language models, with redraws until the two responses differ);
            Melikidze et al., "ActiveUltraFeedback: Efficient Preference Data Generation using Active Learning",
            ICML 2026, arXiv 2603.09692 (both in the form used here; double reverse Thompson sampling).

The algorithm, for each prompt, with draws k_1, k_2, ... taken at random from K reward functions of the posterior:

    y_1 = argmax_y r_{k_1}(y);   y_2 = argmax_y r_{k_t}(y) (reverse: argmin) for the first t >= 2 with y_2 ≠ y_1;
    if `redraws` draws give none, y_2 is drawn uniformly from the other responses.

Pairs that are not in the pool, or already in this batch, do not count: y_1 is one of the responses with a remaining
pair, y_2 is y_1 or a response that it can still be paired with. Prompts are visited in random order, one pair each. If
the budget exceeds the number of prompts, further passes follow.

Our choices where the papers leave it open or differ: a draw is one reward function for all responses (the papers draw
the reward of each response separately, uniformly within its confidence bounds); a batch shares K draws.
"""

from __future__ import annotations

from typing import ClassVar, final

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from duelist.acquisition.numerics.duels import Duels, first_of_largest, slices_of
from duelist.acquisition.numerics.posterior import Posterior, PosteriorConfig
from duelist.acquisition.posterior_rule import PosteriorRule
from duelist.types import Features, Selection

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]


class ThompsonConfig(PosteriorConfig):
    """Settings of Thompson sampling, double or double reverse."""

    redraws: int = Field(
        default=30, ge=1, description="Posterior draws for the second response before it is selected at random."
    )


class _DoubleThompson(PosteriorRule[ThompsonConfig]):
    """Selection of the two responses of a prompt by two posterior draws."""

    within_prompts: ClassVar[bool] = True
    sign: ClassVar[float]  # +1: the second response is its draw's best; −1: its draw's worst

    def __init__(self, config: ThompsonConfig) -> None:
        self.config = config

    def select(self, features: Features, budget: int, rng: np.random.Generator) -> Selection:
        posterior = Posterior(features, self.config)
        duels = Duels.of(features)
        if posterior.has_rewards:
            reward_AK = duels.known_rewards(posterior.reward_N2K)
        else:
            reward_AK = duels.rewards_of_margins(posterior.margin_draws(rng))

        def pick(available_J: NDArray[np.bool_], most: int) -> tuple[Integers, Floats]:
            return self._one_pair_of_each_prompt(duels, reward_AK, available_J, most, rng)

        indices_B, scores_B, passes = duels.prompt_by_prompt(pick, budget)
        unit = "margin under a posterior draw"
        return Selection(indices_B, scores_B, unit, {"rounds_of_prompts": float(passes)})

    def _one_pair_of_each_prompt(
        self, duels: Duels, reward_AK: Floats, available_J: NDArray[np.bool_], most: int, rng: np.random.Generator
    ) -> tuple[Integers, Floats]:
        """Return one available edge per group that has any, in random order, at most `most`, and their scores."""
        k = reward_AK.shape[1]
        open_A = np.logical_or.reduceat(available_J, duels.start_A)
        group_B = rng.permutation(duels.groups)
        group_B = group_B[np.logical_or.reduceat(open_A, duels.start_G)[group_B]][:most]

        end_G = np.append(duels.start_G[1:], len(open_A))
        arm, begin_B = slices_of(duels.start_G[group_B], end_G[group_B])
        draw_B = rng.integers(k, size=len(group_B))
        group_of_arm = np.repeat(np.arange(len(group_B)), np.diff(begin_B, append=len(arm)))
        value = np.where(open_A[arm], reward_AK[arm, draw_B[group_of_arm]], -np.inf)
        first_B = arm[first_of_largest(value, begin_B)[1]]

        end_A = np.append(duels.start_A[1:], len(available_J))
        edge, _ = slices_of(duels.start_A[first_B], end_A[first_B])
        group_of_edge = np.repeat(np.arange(len(first_B)), end_A[first_B] - duels.start_A[first_B])
        edge, group_of_edge = edge[available_J[edge]], group_of_edge[available_J[edge]]
        begin_B = np.flatnonzero(np.diff(group_of_edge, prepend=-1))

        draw_BX = rng.integers(k, size=(len(first_B), self.config.redraws))
        value_JX = self.sign * reward_AK[duels.to_J[edge][:, None], draw_BX[group_of_edge]]
        best_BX, position_BX = first_of_largest(value_JX, begin_B)
        differs_BX = best_BX > self.sign * reward_AK[first_B[:, None], draw_BX]
        t_B = differs_BX.argmax(axis=1)
        anyone_B = first_of_largest(rng.random(len(edge)), begin_B)[1]
        rows_B = np.arange(len(first_B))
        edge_B = edge[np.where(differs_BX[rows_B, t_B], position_BX[rows_B, t_B], anyone_B)]
        return edge_B, reward_AK[first_B, draw_B] - reward_AK[duels.to_J[edge_B], draw_B]


@final
class Thompson(_DoubleThompson):
    """Double Thompson sampling: each response of a pair is the best one under its own posterior draw.

    Reference: Wu, Liu, NeurIPS 2016, arXiv 1604.07101; Dwaracherla et al., ICML 2024, arXiv 2402.00396; in the form of
               Melikidze et al., ICML 2026, arXiv 2603.09692.
    Formula:   y_1 = argmax_y r_k(y),  y_2 = argmax_y r_l(y),  k and l drawn from the posterior until y_1 ≠ y_2.
    Unit:      r_k(y_1) − r_k(y_2), the margin under the first draw (reward units).
    Cost:      that of the posterior (Laplace: O(N D (P + K))); then O(N · redraws) per pass over the prompts.
    """

    sign: ClassVar[float] = 1.0


@final
class DoubleReverseThompson(_DoubleThompson):
    """Double reverse Thompson sampling: the best response under one posterior draw against the worst under another.

    Reference: Melikidze et al., "ActiveUltraFeedback", ICML 2026, arXiv 2603.09692.
    Formula:   y_1 = argmax_y r_k(y),  y_2 = argmin_y r_l(y),  k and l drawn from the posterior until y_1 ≠ y_2.
    Unit:      r_k(y_1) − r_k(y_2), the margin under the first draw (reward units).
    Cost:      that of the posterior (Laplace: O(N D (P + K))); then O(N · redraws) per pass over the prompts.
    """

    sign: ClassVar[float] = -1.0
