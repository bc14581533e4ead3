"""T-PILAF: the sampling scheme of PILAF's theory over whole responses, with its loss weights.

Reference: PILAF (arXiv 2502.04270), Section 3, equations (6a), (6b) and (7); Section 4; Appendix F, equations (62a)
           and (62b).
Formula:   π±(y|x) = π_θ(y|x) exp(±r(x, y)) / Z±(x),  r = β log(π_θ/π_ref)                                 (eq. 6)
           or r the reward model that the labels so far have trained (`reward: explicit`)                  (eq. 62)
           with probability p₀ = Z⁺Z⁻/(1 + Z⁺Z⁻)  y_a ~ π⁺, y_b ~ π⁻;  otherwise  y_a, y_b ~ π_θ
           loss weight w(x) = (1 + Z⁺Z⁻)/Z_θ,  Z_θ = 1 + E_x[Z⁺Z⁻], over the round's prompts               (eq. 7)
           While r = 0 (π_θ = π_ref, or no reward model yet): Z± = 1, w = 1, and both halves are vanilla sampling.
Cost:      exact: two forward passes over every possible response. Otherwise N decoded responses per prompt, and two
           forward passes over each (explicit: one, of the reward model); all sets of a prompt come from the same N.

The scheme is exact if all responses can be listed (`max_responses`). Otherwise π± are approximated by resampling N
draws y_i ~ π_θ with probability ∝ exp(±r_i), and Z± by the mean of exp(±r_i). This is biased, because a response that
was not drawn cannot be picked. The bias falls with N. The draws from π_θ itself are exact.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import product
from typing import TYPE_CHECKING, ClassVar, Literal

import numpy as np
import scipy
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field

from duelist.errors import RecipeError
from duelist.models.decoding.requests import Decoding, ResponseRequest
from duelist.models.policy.implicit_reward import log_probs
from duelist.models.policy.tokenization import check_length, prompt_token_ids, require_chat_template
from duelist.samplers.base import Counts, Drawn, SampleJob, Sampler, draws_of
from duelist.seeding import generator
from duelist.settings.context import Context
from duelist.types import Draws, Prompt, Response

if TYPE_CHECKING:
    from duelist.models.policy.policy import Policy

NAME = "Sampler `t_pilaf`"
NO_REWARD = "No label has trained a reward model yet: T-PILAF's sets are vanilla ones of weight 1."
NOTE = "The policy is still its reference: all implicit rewards are 0, so T-PILAF's sets are vanilla ones of weight 1."


class TPilafConfig(BaseModel):
    """Settings of T-PILAF. There is no temperature: the scheme is defined on π_θ itself."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    reward: Literal["implicit", "explicit"] = Field(
        default="implicit",
        description="r in π±: the implicit reward β log(π_θ/π_ref), or (explicit) the reward model that trainer `rlhf` "
        "trained in the last round (`trainer.reward_model.keep: true`).",
    )
    pairs_per_prompt: int = Field(default=1, ge=1, description="Sets of two responses drawn per prompt.")
    n: int = Field(default=64, ge=2, description="Number of draws from the policy to resample, N.")
    max_responses: int = Field(
        default=512, ge=0, description="List all responses if there are at most this many; 0: always resample."
    )
    max_new_tokens: int = Field(default=256, ge=1, description="Maximum tokens per response; longer ones are cut.")
    batch_size: int = Field(default=64, ge=1, description="Responses decoded per batch.")
    max_tokens: int = Field(default=16384, gt=0, description="Tokens per forward pass of scoring, padding included.")


@dataclass(frozen=True)
class Tilted:
    """The distributions π_θ, π⁺ and π⁻ over R responses to one prompt, and log Z⁺Z⁻."""

    policy_R: NDArray[np.float64]
    plus_R: NDArray[np.float64]
    minus_R: NDArray[np.float64]
    log_zz: float

    @property
    def p_mixed(self) -> float:
        """Return p₀, the probability that a set is drawn from π⁺ and π⁻."""
        return float(scipy.special.expit(self.log_zz))


def tilt(log_prob_R: NDArray[np.float64], reward_R: NDArray[np.float64]) -> Tilted:
    """Compute equations (6a) and (6b) over R responses.

    Args:
        log_prob_R: log π_θ of all possible responses; or −log R for each of R draws from π_θ.
        reward_R: their implicit rewards.
    """
    log_plus_R, log_minus_R = log_prob_R + reward_R, log_prob_R - reward_R
    log_z_plus, log_z_minus = np.logaddexp.reduce(log_plus_R), np.logaddexp.reduce(log_minus_R)
    policy_R = np.exp(log_prob_R - np.logaddexp.reduce(log_prob_R))
    plus_R, minus_R = np.exp(log_plus_R - log_z_plus), np.exp(log_minus_R - log_z_minus)
    return Tilted(policy_R, plus_R / plus_R.sum(), minus_R / minus_R.sum(), float(log_z_plus + log_z_minus))


def loss_weights(log_zz_X: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return w(x) of equation 7 for X prompts, from their log Z⁺Z⁻. The mean weight is 1."""
    largest = log_zz_X.max()
    log_mean = largest + np.log(np.exp(log_zz_X - largest).mean())  # exact if all are equal
    return np.asarray(np.exp(np.logaddexp(0, log_zz_X) - np.logaddexp(0, log_mean)))


class TPilaf(Sampler):
    """Sampling of `pairs_per_prompt` weighted sets per prompt."""

    weighs_pairs: ClassVar[bool] = True
    origins: ClassVar[frozenset[str] | None] = frozenset({"policy", "plus", "minus"})

    def __init__(self, config: TPilafConfig) -> None:
        self.config = config

    @property
    def counts(self) -> Counts:
        m = self.config.pairs_per_prompt
        return Counts(responses=2 * m, sets=m, decoded=max(self.config.n, 2 * m))

    def check(self, context: Context) -> None:
        super().check(context)
        if self.config.reward == "explicit" and not context.keeps_reward:
            raise RecipeError(
                "`sampler.reward: explicit` needs the reward model that the labels train, but trainer "
                f"{context.names['trainer']!r} keeps none: use `rlhf` with `reward_model.keep: true`, or set it to "
                "implicit."
            )

    def sample(self, job: SampleJob) -> Draws:
        policy = job.models.policy_for(NAME)
        limit, vocabulary = self.config.max_new_tokens, _vocabulary(policy)
        exact = number_of_responses(vocabulary, policy.stop_token_ids, limit) <= self.config.max_responses
        candidates = self._all(job, policy, vocabulary) if exact else self._drawn(job)
        flat = [r for group in candidates for r in group]
        # Draws from the policy count 1/N each: with an explicit reward, they need no log-probabilities.
        needed = flat if exact or self.config.reward == "implicit" else []
        own_R, reference_R = log_probs(policy, needed, self.config.max_tokens, job.progress, compute=job.models.map)
        reward_R, notes = self._rewards(job, flat, own_R, reference_R)
        rng = generator(job.seed, "sets")
        sets, log_zz, start = [], [], 0
        for group in candidates:
            part = slice(start, start := start + len(group))
            log_prob_R = own_R[part] if exact else np.full(len(group), -np.log(len(group)))
            tilted = tilt(log_prob_R, reward_R[part])
            log_zz.append(tilted.log_zz)
            sets += [_draw(tilted, group, rng, exact) for _ in range(self.config.pairs_per_prompt)]
        weights = np.repeat(loss_weights(np.array(log_zz)), self.config.pairs_per_prompt) if sets else np.empty(0)
        weighted = [(a, b, float(w)) for (a, b), w in zip(sets, weights, strict=True)]
        return draws_of([d for pair in sets for d in pair], weighted, notes)

    def _rewards(
        self,
        job: SampleJob,
        responses: Sequence[Response],
        own_R: NDArray[np.float64],
        reference_R: NDArray[np.float64],
    ) -> tuple[NDArray[np.float64], list[str]]:
        """Return r of each response, and what to note of it; explicit rewards give equations (62a) and (62b)."""
        if self.config.reward == "implicit":
            notes = [NOTE] if responses and np.array_equal(own_R, reference_R) else []
            return job.beta * (own_R - reference_R), notes
        if job.models.classifier is None:
            return np.zeros(len(responses)), [NO_REWARD] if responses else []
        from duelist.models.rewards.classifier import saved_rewards

        sequences = [[*r.prompt_token_ids, *r.token_ids] for r in responses]
        return np.array(saved_rewards(job.models.classifier, sequences, job.models.policy_for(NAME).device)), []

    def _all(self, job: SampleJob, policy: Policy, vocabulary: int) -> list[list[Response]]:
        """Return every possible response to each prompt."""
        require_chat_template(policy.tokenizer, job.prompts, policy.name)
        tokens = list(every_response(vocabulary, policy.stop_token_ids, self.config.max_new_tokens))
        texts = [policy.tokenizer.decode(ids, skip_special_tokens=True) for ids in tokens]

        def to(prompt: Prompt) -> list[Response]:
            before = prompt_token_ids(policy.tokenizer, prompt)
            limit = f"max_new_tokens={self.config.max_new_tokens}"
            check_length(prompt, len(before) + self.config.max_new_tokens, policy.context_length, limit)
            return [Response.of(prompt, text, before, ids, job.round) for text, ids in zip(texts, tokens, strict=True)]

        return [to(p) for p in job.prompts]

    def _drawn(self, job: SampleJob) -> list[list[Response]]:
        """Return N draws from the policy for each prompt, or more if its sets need more."""
        n = self.counts.decoded
        how = Decoding(self.config.max_new_tokens, batch_size=self.config.batch_size)
        drawn = [d.response for d in job.draw(NAME, [ResponseRequest(p) for p in job.prompts for _ in range(n)], how)]
        return [drawn[start : start + n] for start in range(0, len(drawn), n)]


def number_of_responses(vocabulary: int, stop: frozenset[int], max_new_tokens: int) -> int:
    """Return the number of responses of at most `max_new_tokens` tokens, each ended by a stop token or cut."""
    going_on = vocabulary - len(stop)
    total = sum(len(stop) * going_on**t for t in range(max_new_tokens))
    return int(total + going_on**max_new_tokens)


def every_response(vocabulary: int, stop: frozenset[int], max_new_tokens: int) -> Iterator[tuple[int, ...]]:
    """Yield all possible responses as token ids, the shorter ones first."""
    going_on = [token for token in range(vocabulary) if token not in stop]
    for length in range(1, max_new_tokens + 1):
        ends = sorted(stop) if length < max_new_tokens else range(vocabulary)
        for begun in product(going_on, repeat=length - 1):
            yield from ((*begun, token) for token in ends)


def _draw(tilted: Tilted, responses: Sequence[Response], rng: np.random.Generator, exact: bool) -> tuple[Drawn, Drawn]:
    """Draw one set. Two different ones of the R draws are two independent draws from the policy."""
    if rng.random() < tilted.p_mixed:
        a, b = rng.choice(len(responses), p=tilted.plus_R), rng.choice(len(responses), p=tilted.minus_R)
        return Drawn(responses[a], "plus"), Drawn(responses[b], "minus")
    first, second = rng.choice(len(responses), size=2, replace=exact, p=tilted.policy_R if exact else None)
    return Drawn(responses[first], "policy"), Drawn(responses[second], "policy")


def _vocabulary(policy: Policy) -> int:
    return int(policy.model.config.get_text_config().vocab_size)
