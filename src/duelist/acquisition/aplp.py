"""APLP: the prompts on which the policy is least certain, and among them the pairs with the most certain reward.

Reference: Muldrew, Hayes, Zhang, Barber, "Active Preference Learning for Large Language Models", ICML 2024,
           arXiv 2402.08114, Section 3 (predictive entropy; preference model certainty; one after the other).
Formula:   keep the prompts of highest entropy, −mean log π_θ(y|x) over the responses y drawn for x; among their pairs,
           pick the largest |ρ|.
Unit:      |ρ|: nats times β (score); nats of the prompt's entropy if that is the second step.
Cost:      two forward passes over each distinct response; then O(N log N).
"""

from __future__ import annotations

from math import ceil
from typing import ClassVar, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field

from duelist.acquisition.base import Acquisition
from duelist.acquisition.numerics.grouping import prompt_groups
from duelist.types import Features, Selection


class APLPConfig(BaseModel):
    """Settings of APLP."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    first: Literal["entropy", "certainty"] = Field(
        default="entropy", description="The first step; the other step picks from the pairs that it keeps."
    )
    oversampling: float = Field(
        default=4.0,
        ge=1,
        description="Number of pairs kept by the first step, as a multiple of the budget (ours).",
    )


class APLP(Acquisition):
    """Selection of prompts by the policy's entropy, highest first, then of pairs by certainty |ρ|, largest first.

    The entropy step keeps whole prompts until they have `oversampling` times the budget in pairs. Certainty is ranked
    by |ρ|, not by σ(ρ), which saturates. The two prompts of a cross-prompt pair count together as its prompt.
    """

    within_prompts: ClassVar[bool] = True

    def __init__(self, config: APLPConfig) -> None:
        self.config = config

    @property
    def needs(self) -> frozenset[str]:
        return frozenset({"margin_N", "prompt_entropy_N"})

    def select(self, features: Features, budget: int, rng: np.random.Generator) -> Selection:
        entropy_N = features.prompt_entropy_N
        assert features.margin_N is not None and entropy_N is not None  # `choose` checked the needs
        size_N = np.abs(features.margin_N, dtype=np.float64)
        wanted = min(ceil(round(self.config.oversampling * budget, 9)), features.n)
        if self.config.first == "entropy":
            kept = _prompts_of_highest_entropy(prompt_groups(features), entropy_N, wanted)
            indices_B = kept[np.argsort(-size_N[kept], kind="stable")][:budget]
            score_N, unit = size_N, "certainty |ρ|"
        else:
            kept = np.sort(np.argsort(-size_N, kind="stable")[:wanted])
            indices_B = kept[np.argsort(-entropy_N[kept], kind="stable")][:budget]
            score_N, unit = np.asarray(entropy_N, np.float64), "predictive entropy of the prompt in nats"
        diagnostics = {
            "pairs_kept_by_the_first_step": float(len(kept)),
            "mean_abs_margin": float(size_N[indices_B].mean()),
            "mean_prompt_entropy": float(np.mean(entropy_N[indices_B])),
        }
        return Selection(indices_B, score_N[indices_B], unit, diagnostics)


def _prompts_of_highest_entropy(
    group_N: NDArray[np.int64], entropy_N: NDArray[np.float64], wanted: int
) -> NDArray[np.int64]:
    """Return the pairs of the highest-entropy prompts, with the fewest prompts that give `wanted` pairs; pool order."""
    _, first_G = np.unique(group_N, return_index=True)
    order_G = np.argsort(-entropy_N[first_G], kind="stable")
    pairs_G = np.bincount(group_N)[order_G]
    n_kept = int(np.searchsorted(np.cumsum(pairs_G), wanted)) + 1
    return np.flatnonzero(np.isin(group_N, order_G[:n_kept]))
