"""Implicit reward margins.

Reference: Rafailov et al., arXiv 2305.18290, Section 4; Yang et al., arXiv 2406.17312, Section 3.
Formula:   ρ = r(x, y_a) − r(x, y_b),  r(x, y) = β log(π_θ(y|x) / π_ref(y|x)), summed over response tokens.
Unit:      nats times β. Zero before the first update, when the policy is the reference.
Cost:      two forward passes over each distinct response.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field

from duelist.featurizers.base import Featurizer, distinct_responses, tokenized
from duelist.models.logprobs import sequence_log_probs
from duelist.models.policy import Policy
from duelist.progress import Progress
from duelist.types import Pair


class MarginConfig(BaseModel):
    """Settings of the `margin` featurizer."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    max_tokens: int = Field(default=16384, gt=0, description="Tokens per forward pass, padding included.")


class Margin(Featurizer):
    """Margins of the implicit reward under the policy and its reference."""

    def __init__(self, config: MarginConfig) -> None:
        self.config = config

    @property
    def provides(self) -> tuple[str, ...]:
        return ("margin_N",)

    def compute(
        self, policy: Policy, pairs: Sequence[Pair], wanted: frozenset[str], beta: float, seed: int, progress: Progress
    ) -> Mapping[str, NDArray[Any]]:
        responses, index_N2 = distinct_responses(pairs)
        sequences = tokenized(responses)
        with progress.stage("Log-probabilities", 2 * len(sequences)) as advance:
            policy_R = sequence_log_probs(policy.model, sequences, max_tokens=self.config.max_tokens, progress=advance)
            with policy.as_reference():
                reference_R = sequence_log_probs(
                    policy.model, sequences, max_tokens=self.config.max_tokens, progress=advance
                )
        reward_R = beta * (policy_R - reference_R)
        return {"margin_N": reward_R[index_N2[:, 0]] - reward_R[index_N2[:, 1]]}
