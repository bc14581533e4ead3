"""Implicit reward margins, and the policy's entropy at each prompt.

Reference: Rafailov et al., arXiv 2305.18290, Section 4; Yang et al., arXiv 2406.17312, equations (4) and (5).
Formula:   ρ = r(x, y_a) − r(x, y_b),  r(x, y) = β log(π_θ(y|x) / π_ref(y|x)), summed over response tokens.
           entropy(x) = −mean log π_θ(y|x) over the responses y sampled for x (Muldrew et al., arXiv 2402.08114).
Unit:      nats times β (margin), nats (log ratios, entropy). Margins are zero before the first update, when the policy
           equals the reference.
Cost:      two forward passes over each distinct response.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field

from duelist.featurizers.base import FeatureJob, Featurizer, distinct_responses
from duelist.featurizers.feature_folder import FeatureFolder
from duelist.types import Response


class MarginFeaturizerConfig(BaseModel):
    """Settings of the `margin` featurizer."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    max_tokens: int = Field(default=16384, gt=0, description="Tokens per forward pass, padding included.")


class Margin(Featurizer):
    """Featurizer for implicit reward margins, log ratios and prompt entropies, from the same two forward passes."""

    def __init__(self, config: MarginFeaturizerConfig) -> None:
        self.config = config

    @property
    def provides(self) -> tuple[str, ...]:
        return ("margin_N", "log_ratio_N2", "prompt_entropy_N", "reward_R")

    def compute(self, job: FeatureJob) -> Mapping[str, NDArray[Any]]:
        from duelist.featurizers.response_numbers import response_numbers

        policy = job.models.policy_for("The `margin` featurizer")
        responses, index_N2 = distinct_responses(job.questions)
        with response_numbers(job, policy, responses, self.config.max_tokens) as kept:
            return log_prob_features(job, kept, responses, index_N2)


def log_prob_features(
    job: FeatureJob, kept: FeatureFolder, responses: Sequence[Response], index_N2: NDArray[np.int64]
) -> dict[str, NDArray[Any]]:
    """Return the wanted fields that follow from log-probabilities.

    Args:
        job: the wanted fields, and β.
        kept: the log-probabilities of R responses.
        responses: the R responses.
        index_N2: positions of each pair's a and b among them.
    """
    fields: dict[str, NDArray[Any]] = {}
    policy_R = kept.log_probs("policy")
    if "reward_R" in job.wanted:
        fields["reward_R"] = job.beta * (policy_R - kept.log_probs("reference"))
    if job.wanted & {"margin_N", "log_ratio_N2"}:
        log_ratio_N2 = (policy_R - kept.log_probs("reference"))[index_N2]
        fields |= {"margin_N": job.beta * (log_ratio_N2[:, 0] - log_ratio_N2[:, 1]), "log_ratio_N2": log_ratio_N2}
    if "prompt_entropy_N" in job.wanted:
        # All responses of a larger question answer one prompt.
        fields["prompt_entropy_N"] = prompt_entropies(policy_R, [r.prompt_id for r in responses], index_N2[:, :2])
    return fields


def prompt_entropies(
    log_prob_R: NDArray[np.float64], prompt_id_R: Sequence[str], index_N2: NDArray[np.int64]
) -> NDArray[np.float64]:
    """Return the Monte Carlo entropy of each pair's prompt, −mean log π(y|x) over the prompt's responses, in nats.

    A cross-prompt pair has the mean of its two prompts' entropies.
    """
    _, prompt_R = np.unique(np.asarray(prompt_id_R), return_inverse=True)
    entropy_X = -np.bincount(prompt_R, weights=log_prob_R) / np.bincount(prompt_R)
    return np.asarray(entropy_X[prompt_R[index_N2]].mean(axis=1))
