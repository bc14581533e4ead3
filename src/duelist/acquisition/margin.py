"""Selection by the reward margin |ρ|, within a prompt and over the whole pool: one implementation, three names.

Reference: Yang et al., "Not All Preference Pairs Are Created Equal: A Recipe for Annotation-Efficient Iterative
           Preference Learning", 2024, arXiv 2406.17312, Section 3.1, equations (4) and (6).
Formula:   instance level: among a prompt's pairs, the one with the smallest, the largest or a random |ρ|; corpus level:
           among the remaining pairs, those with the smallest, the largest or a random |ρ|;  ρ = r(x, y_a) − r(x, y_b).
Unit:      |ρ|: nats times β, or the reward model's units; nats per token if length-normalised.
Cost:      two forward passes over each distinct response (policy), or one of the reward model; then O(N log N).
"""

from __future__ import annotations

from typing import ClassVar, Literal, final

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field

from duelist.acquisition.base import Acquisition, Gains
from duelist.acquisition.numerics.grouping import group_by_group, prompt_groups, without_noise
from duelist.acquisition.top import per_second
from duelist.types import Features, Selection

Choice = Literal["smallest", "largest", "random"]
Floats = NDArray[np.float64]


class MarginConfig(BaseModel):
    """Settings of margin selection."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    instance: Choice | None = Field(
        default=None, description="The margin of the one pair per prompt that enters the selection; null: all pairs do."
    )
    corpus: Choice = Field(default="smallest", description="The margins to pick among the pairs that entered.")
    length_normalized: bool = Field(
        default=False, description="Per-token log-ratios without β (equation 6 of the paper)."
    )


class Margin(Acquisition):
    """Selection by smallest, largest or random reward margin, at the level of the prompt and of the pool.

    If the instance level leaves fewer pairs than the budget, the next-best pair of each prompt follows, and so on.
    With `per_second`, the gain of `smallest` is the label's entropy and the gain of `largest` is |ρ|; `random` has
    none.
    """

    def __init__(self, config: MarginConfig) -> None:
        self.config = config
        # Random selection has no gain to divide by seconds.
        self.honours_cost = "random" not in (config.instance, config.corpus)

    @property
    def needs(self) -> frozenset[str]:
        return frozenset({"log_ratio_N2"} if self.config.length_normalized else {"margin_N"})

    def select(self, features: Features, budget: int, rng: np.random.Generator) -> Selection:
        settings = self.config
        size_N = _margin_sizes(features, settings.length_normalized)
        cost_N = features.cost_N if self.honours_cost else None
        corpus_N = _preference(size_N, settings.corpus, cost_N)
        if settings.instance is None:
            order_N = np.argsort(-corpus_N, kind="stable")
        else:
            within_N = _preference(size_N, settings.instance, cost_N)
            order_N = group_by_group(prompt_groups(features), within_N, corpus_N)
        if cost_N is not None:
            unit = "label entropy in nats" if settings.corpus == "smallest" else "|ρ|"
            score_N, unit = per_second(_gain(size_N, settings.corpus), unit, cost_N)
        else:
            score_N, unit = size_N, "|ρ| per token, without β" if settings.length_normalized else "|ρ|"
        return _selection(order_N[:budget], score_N, size_N, unit)

    def gains(self, features: Features, rng: np.random.Generator) -> Gains:
        settings = self.config
        if settings.instance is not None or settings.corpus == "random":
            return super().gains(features, rng)
        size_N = _margin_sizes(features, settings.length_normalized)
        unit = "|ρ| per token, without β" if settings.length_normalized else "|ρ|"
        return Gains(size_N, unit) if settings.corpus == "largest" else Gains(-size_N, f"−{unit}")


class _ByMargin(Acquisition):
    """Selection by smallest or largest |ρ| in the whole pool."""

    honours_cost = True
    choice: ClassVar[Choice]
    unit: ClassVar[str]

    @property
    def needs(self) -> frozenset[str]:
        return frozenset({"margin_N"})

    def select(self, features: Features, budget: int, rng: np.random.Generator) -> Selection:
        size_N = _margin_sizes(features, length_normalized=False)
        order_N = np.argsort(-_preference(size_N, self.choice, features.cost_N), kind="stable")
        score_N, unit = per_second(_gain(size_N, self.choice), self.unit, features.cost_N)
        return _selection(order_N[:budget], score_N, size_N, unit)

    def gains(self, features: Features, rng: np.random.Generator) -> Gains:
        return Gains(_gain(_margin_sizes(features, length_normalized=False), self.choice), self.unit)


@final
class Entropy(_ByMargin):
    """Selection of the least predictable labels: maximum entropy of σ(ρ), equivalent to the smallest margin.

    Reference: Shen, Sun, Ton, "Reviving the Classics: Active Reward Modeling in Large Language Model Alignment", 2025,
               arXiv 2502.04354, equation (5).
    Formula:   −p log p − (1 − p) log(1 − p),  p = σ(ρ).
    Unit:      nats, at most log 2.
    Cost:      that of the margins; then O(N log N).
    """

    choice: ClassVar[Choice] = "smallest"
    unit: ClassVar[str] = "label entropy in nats"


@final
class MaxDiff(_ByMargin):
    """Selection of the largest reward differences: the largest margin, equivalent to APLP's certainty.

    Reference: Shen, Sun, Ton, "Reviving the Classics: Active Reward Modeling in Large Language Model Alignment", 2025,
               arXiv 2502.04354, equation (6); Muldrew et al., arXiv 2402.08114 (certainty).
    Formula:   |r_1 − r_2|.
    Unit:      that of the reward.
    Cost:      that of the margins; then O(N log N).
    """

    choice: ClassVar[Choice] = "largest"
    unit: ClassVar[str] = "|r1 − r2|"


def label_entropy(margin_N: Floats) -> Floats:
    """Return the entropy of a label with probability σ(ρ), in nats: exact to rounding for any finite ρ."""
    return np.asarray(np.exp(_log_label_entropy(np.abs(margin_N))))


def _log_label_entropy(size_N: Floats) -> Floats:
    """Return log H, which stays ordered when H underflows: H = e^{−z}·(e^z log(1 + e^{−z}) + z/(1 + e^{−z}))."""
    tail_N = np.exp(-size_N)
    # log(1 + t)/t → 1 as t → 0, where the quotient would be 0/0.
    scaled_N = np.divide(np.log1p(tail_N), tail_N, out=np.ones_like(tail_N), where=tail_N > 1e-300)
    return np.asarray(-size_N + np.log(scaled_N + size_N / (1.0 + tail_N)))


def _margin_sizes(features: Features, length_normalized: bool) -> Floats:
    """Return |ρ| of every pair."""
    if not length_normalized:
        assert features.margin_N is not None  # `choose` checked the needs
        return np.abs(features.margin_N, dtype=np.float64)
    assert features.log_ratio_N2 is not None
    per_token_N2 = np.asarray(features.log_ratio_N2) / features.length_N2  # eq. (6): no β
    return np.abs(per_token_N2[:, 0] - per_token_N2[:, 1])


def _preference(size_N: Floats, choice: Choice, cost_N: Floats | None) -> Floats:
    """Return a number that is higher for pairs to pick earlier; equal for all pairs if the selection is random."""
    if choice == "random":
        return np.zeros_like(size_N)  # the pool comes in random order
    if cost_N is None:
        return -size_N if choice == "smallest" else size_N
    if choice == "largest":
        return size_N / cost_N
    # Logarithms keep the order of pairs whose entropy underflows; ties in rounding noise go to the smaller margin.
    gain_N = without_noise(_log_label_entropy(size_N) - np.log(cost_N))
    _, place_N = np.unique(np.stack([-gain_N, size_N], axis=1), axis=0, return_inverse=True)
    return -np.asarray(place_N.reshape(-1), np.float64)


def _gain(size_N: Floats, choice: Choice) -> Floats:
    """Return the gain to divide by seconds: the label's entropy if the smallest |ρ| are selected, else |ρ|."""
    return label_entropy(size_N) if choice == "smallest" else size_N


def _selection(indices_B: NDArray[np.int64], score_N: Floats, size_N: Floats, unit: str) -> Selection:
    means = {"mean_abs_margin": float(size_N[indices_B].mean()), "mean_abs_margin_of_pool": float(size_N.mean())}
    return Selection(indices_B, score_N[indices_B], unit, means)
