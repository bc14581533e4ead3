"""Held-out evaluation of the policy; the metrics are in `duelist.evaluation.metrics`.

Cost: one decoded response and two forward passes per held-out prompt and sample.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Self

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, model_validator

from duelist.errors import DataError, user_code
from duelist.evaluation.metrics import Floats, measure
from duelist.evaluation.references import reference_outputs
from duelist.evaluation.win_rates import INITIAL, WinRateConfig, judge_outputs, references_of, win_rates
from duelist.judges.base import Judge
from duelist.models.decoding.requests import Decoding
from duelist.models.policy.implicit_reward import log_ratios
from duelist.models.rewards.functions import Reward
from duelist.progress import Progress
from duelist.settings.validation import nearest
from duelist.types import Evaluation, Prompt, Response

if TYPE_CHECKING:
    from duelist.models.policy.policy import Policy


class EvaluationConfig(BaseModel):
    """Settings of the evaluation after every round."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    every: int | None = Field(
        default=None,
        ge=1,
        description="Evaluate every n rounds, and after the last; null: every round, online at checkpoints.",
    )
    every_steps: int | None = Field(
        default=None,
        ge=1,
        description="Also evaluate every k optimizer steps within a round's training (rounds/NNN/steps.jsonl, and the "
        "reward–KL curve of the report); null: only after rounds.",
    )
    responses_per_prompt: int = Field(default=1, ge=1, description="Responses drawn per held-out prompt.")
    max_new_tokens: int = Field(default=256, ge=1, description="Maximum response length, in tokens.")
    temperature: float = Field(
        default=1.0,
        ge=0,
        description="Sampling temperature; 0 decodes greedily. The KL estimate is unbiased at 1 only; at 0 "
        "`kl` and `j` describe the greedy responses.",
    )
    top_k: int | None = Field(
        default=None,
        ge=1,
        description="Draw only from the k most probable tokens; null: from all. The KL estimate is unbiased with null "
        "only.",
    )
    top_p: float = Field(default=1.0, gt=0, le=1, description="Top-p (nucleus); the KL estimate is unbiased at 1 only.")
    batch_size: int = Field(default=64, ge=1, description="Responses decoded together.")
    max_tokens: int = Field(default=16384, gt=0, description="Tokens per forward pass, padding included.")
    group_by: str | None = Field(default=None, description="Report the mean reward per value of this prompt column.")
    weight: str | None = Field(default=None, description="Also report a mean reward weighted by this prompt column.")
    judge: WinRateConfig | None = Field(
        default=None, description="Judge for win rates against the initial model or fixed outputs; null: none."
    )

    @property
    def decoding(self) -> Decoding:
        """The decoder's settings."""
        return Decoding(self.max_new_tokens, self.temperature, self.top_p, self.batch_size, top_k=self.top_k)

    @model_validator(mode="after")
    def _samples_differ(self) -> Self:
        if self.decoding.greedy and self.responses_per_prompt > 1:
            raise ValueError(
                f"`responses_per_prompt` must be 1 with greedy decoding (`temperature: 0` or `top_k: 1`), which gives "
                f"the same response every time, but is {self.responses_per_prompt}: set it to 1, or sample."
            )
        return self


def evaluate(
    policy: Policy,
    prompts: Sequence[Prompt],
    reward: Reward | None,
    initial: Evaluation | None,
    config: EvaluationConfig,
    *,
    beta: float,
    seed: int,
    progress: Progress,
    label_temperature: float | None = None,
    judge: Judge | None = None,
) -> Evaluation:
    """Draw responses to the held-out prompts and evaluate them.

    Args:
        policy: the model; its reference is restored afterwards.
        prompts: the held-out prompts.
        reward: the reward of responses; without one, only `kl` and `mean_length` are measured.
        initial: the initial model's evaluation on the same prompts, in the same order; None for that model.
        config: settings.
        beta: β in J.
        seed: the only source of randomness.
        progress: receives the number of responses done.
        label_temperature: T in P(a is preferred) = σ((r_a − r_b) / T), in units of `reward`. β log(π_θ/π_ref) is in
            units of a label's log-odds, and so is the reward divided by T. None if T is not known: then J is not
            measured.
        judge: the judge that `config.judge` describes; None measures no win rates by a judge.
    """
    from duelist.models.decoding.generation import generate

    if not prompts:
        return Evaluation(measure("policy", {}), [])
    responses = generate(
        policy,
        prompts,
        config.decoding,
        responses_per_prompt=config.responses_per_prompt,
        round=0,
        seed=seed,
        progress=progress,
        description="Evaluating",
    )
    asked = [p for p in prompts for _ in range(config.responses_per_prompt)]
    log_ratio_R = _log_ratios(policy, responses, config.max_tokens, progress)
    inputs: dict[str, Any] = {"log_ratio_R": log_ratio_R, "length_R": np.array([len(r.token_ids) for r in responses])}
    rewards: list[float] | list[None] = [None] * len(asked)
    if reward is not None:
        with user_code(reward):
            rewards_R = reward.score(asked, responses)
        rewards = rewards_R.tolist()
        before = rewards if initial is None else [s["reward"] for s in initial.samples]
        baseline_R = np.array(rewards if None in before else before, dtype=np.float64)
        inputs |= {"rewards_R": rewards_R, "baseline_R": baseline_R, **_columns(asked, config)}
        inputs |= {"beta": beta, "label_temperature": label_temperature}
    samples = [
        {"prompt_id": p.id, "prompt": p.as_trl(), "response": r.text, "reward": rewarded, "log_ratio": log_ratio}
        for p, r, rewarded, log_ratio in zip(asked, responses, rewards, log_ratio_R.tolist(), strict=True)
    ]
    if judge is not None and config.judge is not None:
        texts = [r.text for r in responses]
        references = references_of(config.judge, asked, texts, initial)
        judgements = judge_outputs(judge, asked, texts, references, seed=seed, progress=progress)
        difficulty_R = _numbers(asked, config.judge.difficulty)
        inputs["judged"] = win_rates(judgements, texts, references, [p.id for p in asked], difficulty_R, seed)
        for sample, reference, judgement in zip(samples, references, judgements, strict=True):
            sample |= {"reference": reference, "judgement": None if judgement is None else judgement.as_json()}
    return Evaluation(measure("policy", inputs), samples)


def require_evaluable(prompts: Sequence[Prompt], config: EvaluationConfig) -> None:
    """Raise an error if the held-out prompts lack something that the evaluation needs of each.

    Raises:
        DataError: if a column is missing or is not a number where one is needed, or a prompt has no fixed output that
            the judge could compare with; the message names the prompt.
    """
    if config.judge is not None and config.judge.against != INITIAL and prompts:
        reference_outputs(config.judge.against, prompts)
    _require_columns(prompts, config)


def _require_columns(prompts: Sequence[Prompt], config: EvaluationConfig) -> None:
    keys = {"group_by": config.group_by, "weight": config.weight}
    if config.judge is not None:
        keys["judge.difficulty"] = config.judge.difficulty
    for key, column in keys.items():
        if column is None:
            continue
        for prompt in prompts:
            value = prompt.columns.get(column)
            number = isinstance(value, int | float) and (value >= 0 if key == "weight" else math.isfinite(value))
            if value is None or (key != "group_by" and not number):
                need = {"group_by": "a column", "weight": "a number from 0 up"}.get(key, "a number")
                raise DataError(
                    f"evaluation.{key} must name {need} of every held-out prompt, but `{column}` of prompt {prompt.id} "
                    f"is {value!r}: correct the key or the data.{nearest(column, prompt.columns)}"
                )
    if config.weight is not None and prompts and not any(p.columns[config.weight] for p in prompts):
        raise DataError(
            f"Some held-out prompt must have a weight, but `{config.weight}` is 0 for all: correct the data."
        )


def _log_ratios(policy: Policy, responses: Sequence[Response], max_tokens: int, progress: Progress) -> Floats:
    """Return log(π_θ(y|x) / π_ref(y|x)) of each response, π_ref the base model, `[R]`, in nats."""
    own_reference = policy.reference_folder
    try:
        policy.set_reference(None)
        return log_ratios(policy, responses, max_tokens, progress, "KL from the base model")
    finally:
        policy.set_reference(own_reference)


def _columns(prompts: Sequence[Prompt], config: EvaluationConfig) -> dict[str, Any]:
    _require_columns(prompts, config)
    groups = config.group_by and np.array([str(p.columns[config.group_by]) for p in prompts])
    weights = config.weight and np.array([float(p.columns[config.weight]) for p in prompts])
    return {"group_R": groups, "weight_R": weights}


def _numbers(prompts: Sequence[Prompt], column: str | None) -> Floats | None:
    return None if column is None else np.array([p.columns[column] for p in prompts], dtype=np.float64)
