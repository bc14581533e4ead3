"""Vanilla sampling: draw every response from the policy.

Reference: standard on-policy sampling, (π_θ, π_θ) in PILAF's Table 1 (arXiv 2502.04270).
Formula:   y ~ π_θ(· | x), token by token, at a temperature, within the top k and the top-p nucleus.
Cost:      one decoding per response.
"""

from __future__ import annotations

from typing import ClassVar

from pydantic import Field

from duelist.models.decoding.requests import ResponseRequest
from duelist.samplers.base import Counts, SampleJob, Sampler, draws_of, two_by_two
from duelist.samplers.settings import DecodingConfig
from duelist.types import Draws


class VanillaConfig(DecodingConfig):
    """Settings of vanilla sampling. Final."""

    responses_per_prompt: int = Field(default=2, ge=1, description="Responses drawn per prompt, m.")


class Vanilla(Sampler):
    """Sampling of `responses_per_prompt` responses per prompt from the policy, in sets of two."""

    origins: ClassVar[frozenset[str] | None] = frozenset({"policy"})

    def __init__(self, config: VanillaConfig) -> None:
        self.config = config

    @property
    def counts(self) -> Counts:
        m = self.config.responses_per_prompt
        return Counts(responses=m, sets=m // 2, decoded=m)

    def sample(self, job: SampleJob) -> Draws:
        m = self.config.responses_per_prompt
        orders = [ResponseRequest(p) for p in job.prompts for _ in range(m)]
        drawn = job.draw("Sampler `vanilla`", orders, self.config.decoding(job.beta))
        return draws_of(drawn, two_by_two(drawn, m))
