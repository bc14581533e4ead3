"""Reward-model features of a pair: margin, last-layer features and posterior rewards.

Reference: Shen, Sun, Ton, arXiv 2502.04354, Section 3, equation (11) (last-layer features Φ, p = σ(r_1 − r_2)).
Formula:   margin = r_1 − r_2;  gradient = ∇_w(r_1 − r_2) = Φ_1 − Φ_2, w the last layer's weights (an ensemble's mean
           reward: the members' Φ/K side by side);  reward_N2K: rewards under K members or posterior draws.
Unit:      logits of the preference (margin, rewards).
Cost:      one embedding per response, once in a study, and a pass through a small network.

Margins are zero before the first update: the model has seen no labels yet, and ties are broken at random.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from duelist.errors import RecipeError
from duelist.featurizers.base import FeatureJob, Featurizer, distinct_responses
from duelist.settings.context import Context


class RewardHead(Featurizer):
    """Featurizer that reads the reward model trained by the study."""

    @property
    def provides(self) -> tuple[str, ...]:
        return ("margin_N", "gradient_ND", "reward_N2K", "reward_R", "gradient_RD")

    def check(self, context: Context) -> None:
        if "reward_N2K" in context.needs and context.posterior is not None:
            require_posterior(context.posterior)

    def compute(self, job: FeatureJob) -> Mapping[str, NDArray[Any]]:
        model, embed = job.models.reward_model_for("The `reward_head` featurizer")
        if "reward_N2K" in job.wanted:
            require_posterior(model.config.posterior)
        responses, index_N2 = distinct_responses(job.questions)
        fields: dict[str, NDArray[Any]] = {}
        vectors_RH = embed(job.prompts, responses, job.progress) if responses else np.empty((0, model.dimension))
        if "reward_R" in job.wanted:
            fields["reward_R"] = model.rewards(vectors_RH)
        if "gradient_RD" in job.wanted:
            fields["gradient_RD"] = model.features(vectors_RH)
        if "margin_N" in job.wanted:
            reward_R = model.rewards(vectors_RH)
            fields["margin_N"] = reward_R[index_N2[:, 0]] - reward_R[index_N2[:, 1]]
        if "gradient_ND" in job.wanted:
            phi_RD = model.features(vectors_RH)
            fields["gradient_ND"] = phi_RD[index_N2[:, 0]] - phi_RD[index_N2[:, 1]]
        if "reward_N2K" in job.wanted:
            fields["reward_N2K"] = model.samples(vectors_RH)[index_N2]
        return fields


def require_posterior(posterior: str) -> None:
    """Require a reward model with a posterior.

    Raises:
        RecipeError: if `posterior` is `none`.
    """
    if posterior == "none":
        raise RecipeError(
            "`reward_N2K` needs a reward model with a posterior, but `reward_model.posterior` is `none`: set it to "
            "`ensemble`, `laplace` or `dropout`, or choose another acquisition."
        )
