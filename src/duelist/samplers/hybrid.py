"""Hybrid sampling: one response from the policy, one from its reference.

Reference: XPO (Xie et al., arXiv 2405.21046), Algorithm 1; (π_θ, π_ref) in PILAF's Table 1 (arXiv 2502.04270).
Formula:   y_a ~ π_θ(· | x),  y_b ~ π_ref(· | x). XPO trains on such pairs with its own loss.
           While π_θ = π_ref this is vanilla sampling.
Cost:      two decoded responses per set.
"""

from __future__ import annotations

from typing import ClassVar

from pydantic import Field

from duelist.models.decoding.requests import ResponseRequest
from duelist.samplers.base import Counts, SampleJob, Sampler, draws_of, two_by_two
from duelist.samplers.settings import DecodingConfig
from duelist.types import Distribution, Draws

NAME = "Sampler `hybrid`"
KINDS: tuple[Distribution, ...] = ("policy", "reference")
NOTE = "The policy is still its reference, so the hybrid sets were drawn as vanilla ones."


class HybridConfig(DecodingConfig):
    """Settings of hybrid sampling. Final."""

    pairs_per_prompt: int = Field(default=1, ge=1, description="Sets of two responses drawn per prompt.")


class Hybrid(Sampler):
    """Sampling of `pairs_per_prompt` sets of one response from the policy and one from the reference."""

    origins: ClassVar[frozenset[str] | None] = frozenset({"policy", "reference"})

    def __init__(self, config: HybridConfig) -> None:
        self.config = config

    @property
    def counts(self) -> Counts:
        m = self.config.pairs_per_prompt
        return Counts(responses=2 * m, sets=m, decoded=2 * m)

    def sample(self, job: SampleJob) -> Draws:
        from duelist.models.decoding.local import policy_is_reference

        prompts = [p for p in job.prompts for _ in range(self.config.pairs_per_prompt)]
        same = bool(prompts) and policy_is_reference(job.models.policy_for(NAME), prompts[0])
        orders = [ResponseRequest(p, kind) for p in prompts for kind in KINDS]
        drawn = job.draw(NAME, orders, self.config.decoding(job.beta))
        return draws_of(drawn, two_by_two(drawn), [NOTE] if same else [])
