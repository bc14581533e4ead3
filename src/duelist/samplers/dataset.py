"""Responses from a data set: nothing is drawn.

Reference: none needed.
Formula:   the responses of the row, unchanged.
Cost:      none.

A study without a policy has no tokenizer: its tokens are words and punctuation marks.
"""

from __future__ import annotations

from typing import ClassVar

from pydantic import BaseModel, ConfigDict, Field

from duelist.errors import DataError
from duelist.models.policy.plain_tokens import plain_token_ids
from duelist.models.policy.tokenization import (
    check_length,
    encode_responses,
    require_chat_template,
    require_own_tokens,
)
from duelist.samplers.base import FROM_DATASET, Drawn, SampleJob, Sampler, draws_of
from duelist.types import Draws, Response


class DatasetSamplerConfig(BaseModel):
    """Settings of the `dataset` sampler."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    max_length: int | None = Field(
        default=None,
        gt=0,
        description="Maximum tokens of a prompt with its response; longer ones are rejected. null: the context length.",
    )


class DatasetSampler(Sampler):
    """Look-up of responses in the prompts' data set (`chosen`/`rejected`, `response_a`/`response_b`, `responses`)."""

    origins: ClassVar[frozenset[str] | None] = FROM_DATASET

    def __init__(self, config: DatasetSamplerConfig) -> None:
        self.config = config

    @property
    def counts(self) -> None:
        return None

    def sample(self, job: SampleJob) -> Draws:
        policy = job.models.policy
        if policy is not None:
            require_chat_template(policy.tokenizer, job.prompts, policy.name)
        limit = self.config.max_length or (None if policy is None else policy.context_length)
        found: list[Drawn] = []
        with job.progress.stage("Reading responses", len(job.prompts)) as advance:
            for prompt in job.prompts:
                texts = job.given.texts.get(prompt.id, [])
                if len(texts) < job.fewest:
                    needed = "two responses or more" if job.fewest == 2 else "a response or more"
                    raise DataError(
                        f"The dataset sampler needs {needed} for every prompt, but prompt {prompt.id} "
                        f"({str(prompt.messages[-1]['content'])[:60]!r}) has {len(texts)}: add `responses`, "
                        "`response_a` and `response_b`, or `chosen` and `rejected` to its row, or use the sampler "
                        "`vanilla`."
                    )
                if policy is None:  # no tokenizer: count words
                    prompt_ids = plain_token_ids(str(prompt.messages[-1]["content"]))
                    ids = [plain_token_ids(text) for text in texts]
                else:
                    prompt_ids, ids = encode_responses(policy.tokenizer, prompt, texts)
                    require_own_tokens(prompt, prompt_ids)
                for text, token_ids in zip(texts, ids, strict=True):
                    check_length(prompt, len(prompt_ids) + len(token_ids), limit, "a given response")
                    found.append(Drawn(Response.of(prompt, text, prompt_ids, token_ids, job.round), "dataset"))
                advance(1)
        return draws_of(found)
