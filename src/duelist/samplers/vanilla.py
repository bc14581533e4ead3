"""Vanilla sampling: every response is drawn from the policy itself.

Reference: the usual on-policy choice, (π_θ, π_θ) in PILAF's table (arXiv 2502.04270, Section 6).
Formula:   y ~ π_θ(· | x), token by token, at a temperature and within the top-p nucleus.
Cost:      one decoded response each.
"""

from __future__ import annotations

from collections.abc import Sequence

from pydantic import BaseModel, ConfigDict, Field

from duelist.models.generation import generate
from duelist.models.policy import Policy
from duelist.progress import Progress
from duelist.samplers.base import Sampler
from duelist.types import GivenResponses, Prompt, Response


class VanillaConfig(BaseModel):
    """Settings of vanilla sampling."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    responses_per_prompt: int = Field(default=2, ge=1, description="Responses drawn per prompt, m.")
    temperature: float = Field(default=1.0, gt=0, description="Logits are divided by this.")
    top_p: float = Field(
        default=1.0, gt=0, le=1, description="Nucleus: the smallest set of tokens with this probability."
    )
    max_new_tokens: int = Field(default=256, ge=1, description="A response is cut after this many tokens.")
    batch_size: int = Field(default=64, ge=1, description="Responses decoded together.")


class Vanilla(Sampler):
    """Draw `responses_per_prompt` responses to each prompt from the policy with transformers' `generate`."""

    def __init__(self, config: VanillaConfig) -> None:
        self.config = config

    def sample(
        self,
        policy: Policy,
        prompts: Sequence[Prompt],
        given: GivenResponses,
        round: int,
        seed: int,
        progress: Progress,
    ) -> list[Response]:
        c = self.config
        return generate(
            policy,
            prompts,
            responses_per_prompt=c.responses_per_prompt,
            temperature=c.temperature,
            top_p=c.top_p,
            max_new_tokens=c.max_new_tokens,
            batch_size=c.batch_size,
            round=round,
            seed=seed,
            progress=progress,
            distinct=True,
        )
