"""PILAF: draw half of the sets from the policy, the other half away from and towards the reference.

Reference: PILAF (arXiv 2502.04270), Section 5, Algorithm 1.
Formula:   with probability ½  y_a, y_b ~ π_θ;  otherwise  y_a ~ π⁺, y_b ~ π⁻, token by token:
           π⁺ = softmax((1 + β) h_θ − β h_ref),  π⁻ = softmax((1 − β) h_θ + β h_ref),  h the logits, β that of DPO.
           Temperature, top-k and top-p apply after mixing. While π_θ = π_ref this is vanilla sampling.
Cost:      two decoded responses per set; a mixed response runs two rows of the model instead of one.
"""

from __future__ import annotations

from typing import ClassVar

from pydantic import Field

from duelist.models.decoding.requests import ResponseRequest, as_policy
from duelist.samplers.base import Counts, SampleJob, Sampler, draws_of, two_by_two
from duelist.samplers.settings import DecodingConfig
from duelist.seeding import generator
from duelist.types import Distribution, Draws

NAME = "Sampler `pilaf`"
MIXED: tuple[Distribution, ...] = ("plus", "minus")
PLAIN: tuple[Distribution, ...] = ("policy", "policy")
NOTE = "The policy is still its reference, so PILAF's sets were drawn as vanilla ones."


class PilafConfig(DecodingConfig):
    """Settings of PILAF. Final."""

    pairs_per_prompt: int = Field(default=1, ge=1, description="Sets of two responses drawn per prompt.")


class Pilaf(Sampler):
    """Sampling of `pairs_per_prompt` sets per prompt, each mixed with probability ½."""

    mixes_models: ClassVar[bool] = True
    origins: ClassVar[frozenset[str] | None] = frozenset({"policy", "plus", "minus"})

    def __init__(self, config: PilafConfig) -> None:
        self.config = config

    @property
    def counts(self) -> Counts:
        m = self.config.pairs_per_prompt
        return Counts(responses=2 * m, sets=m, decoded=2 * m)

    def sample(self, job: SampleJob) -> Draws:
        from duelist.models.decoding.local import policy_is_reference

        prompts = [p for p in job.prompts for _ in range(self.config.pairs_per_prompt)]
        mixed = generator(job.seed, "mixed").random(len(prompts)) < 0.5
        wanted = [
            ResponseRequest(prompt, kind)
            for prompt, is_mixed in zip(prompts, mixed, strict=True)
            for kind in (MIXED if is_mixed else PLAIN)
        ]
        notes = []
        if prompts and policy_is_reference(job.models.policy_for(NAME), prompts[0]):
            wanted = as_policy(wanted)
            notes.append(NOTE)
        drawn = job.draw(NAME, wanted, self.config.decoding(job.beta))
        return draws_of(drawn, two_by_two(drawn), notes)
