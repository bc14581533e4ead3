"""Best and worst of N responses of the policy by implicit reward.

Reference: Dong et al., arXiv 2405.07863; best-of-N in PILAF's Table 1 (arXiv 2502.04270), N = 8.
Formula:   y_1 ... y_N ~ π_θ(· | x),  (argmax_i r(x, y_i), argmin_i r(x, y_i)),  r = β log(π_θ(y|x) / π_ref(y|x)).
           While π_θ = π_ref every reward is 0, and the two are any two draws: vanilla sampling.
Cost:      N decoded responses per set, and two forward passes over each.
"""

from __future__ import annotations

from typing import ClassVar

from pydantic import Field

from duelist.models.decoding.requests import ResponseRequest
from duelist.models.policy.implicit_reward import log_ratios
from duelist.samplers.base import Counts, SampleJob, Sampler, Together, draws_of
from duelist.samplers.settings import DecodingConfig
from duelist.types import Draws

NAME = "Sampler `best_of_n`"
NOTE = "The policy is still its reference: all implicit rewards are 0, so best-of-N's sets are any two of its draws."


class BestOfNConfig(DecodingConfig):
    """Settings of best-of-N sampling. Final."""

    n: int = Field(default=8, ge=2, description="Responses drawn for each set, N.")
    pairs_per_prompt: int = Field(default=1, ge=1, description="Sets of two responses kept per prompt.")
    max_tokens: int = Field(default=16384, gt=0, description="Tokens per forward pass of scoring, padding included.")


class BestOfN(Sampler):
    """Sampling of N draws per set; the best and the worst are kept, the others are dropped."""

    origins: ClassVar[frozenset[str] | None] = frozenset({"policy"})

    def __init__(self, config: BestOfNConfig) -> None:
        self.config = config

    @property
    def counts(self) -> Counts:
        m = self.config.pairs_per_prompt
        return Counts(responses=2 * m, sets=m, decoded=m * self.config.n)

    def sample(self, job: SampleJob) -> Draws:
        n = self.config.n
        orders = [ResponseRequest(p) for p in job.prompts for _ in range(self.config.pairs_per_prompt * n)]
        drawn = job.draw(NAME, orders, self.config.decoding(job.beta))
        distinct = list({d.response.id: d.response for d in drawn}.values())
        ratio_R = log_ratios(job.models.policy_for(NAME), distinct, self.config.max_tokens, job.progress)
        ratio = {r.id: float(ratio) for r, ratio in zip(distinct, ratio_R, strict=True)}
        sets: list[Together] = []
        for start in range(0, len(drawn), n):
            # The sort is stable: N equal rewards give two different draws, not one draw twice.
            ranked = sorted(drawn[start : start + n], key=lambda d: ratio[d.response.id])
            sets.append((ranked[-1], ranked[0], 1.0))
        notes = [] if any(ratio.values()) else [NOTE]
        return draws_of([d for best, worst, _ in sets for d in (best, worst)], sets, notes)
