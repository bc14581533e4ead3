"""How good the policy is on held-out prompts.

Reference: ActiveDPO (arXiv 2505.19241), Section 4: mean reward, win rate against the initial model; PILAF (arXiv
           2502.04270), Section 6: KL(π_θ‖π_ref) and J = reward − β KL.
Formula:   mean_reward = mean r(x, y), y ~ π_θ; win_rate = P(r(x, y) > r(x, y₀)) + ½ P(equal), y₀ the initial model's;
           kl = mean log(π_θ(y|x) / π_ref(y|x)), π_ref the base model, wherever round 0 starts;
           j = mean_reward / T − β kl, T the Bradley–Terry temperature of the labels; none where labels have no T.
Unit:      the reward's; a probability; nats per response; label log-odds (j).
Cost:      one decoded response and two forward passes per held-out prompt and sample.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, model_validator

from duelist.errors import DataError, user_code
from duelist.models.decoding.generation import generate
from duelist.models.decoding.local import Decoding
from duelist.models.policy.implicit_reward import log_ratios
from duelist.models.policy.policy import Policy
from duelist.models.rewards.functions import Reward
from duelist.progress import Progress
from duelist.settings.validation import nearest
from duelist.types import Evaluation, Prompt, Response


class EvaluationConfig(BaseModel):
    """Settings of the evaluation after every round."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    every: int | None = Field(
        default=None,
        ge=1,
        description="Evaluate every so many rounds, and after the last; null: each, online at checkpoints.",
    )
    responses_per_prompt: int = Field(default=1, ge=1, description="Responses drawn to each held-out prompt.")
    max_new_tokens: int = Field(default=256, ge=1, description="A response is cut after this many tokens.")
    temperature: float = Field(
        default=1.0,
        ge=0,
        description="Sampling temperature; 0 decodes greedily. The KL estimate is unbiased at 1 only; at 0 "
        "`kl` and `j` are about the greedy responses.",
    )
    top_k: int | None = Field(
        default=None,
        ge=1,
        description="Draw from this many most probable tokens only; null: from all. The KL estimate is unbiased with "
        "null only.",
    )
    top_p: float = Field(default=1.0, gt=0, le=1, description="Nucleus. The KL estimate is unbiased at 1 only.")
    batch_size: int = Field(default=64, ge=1, description="Responses decoded together.")
    max_tokens: int = Field(default=16384, gt=0, description="Tokens per forward pass, padding included.")
    group_by: str | None = Field(default=None, description="Report the mean reward per value of this prompt column.")
    weight: str | None = Field(default=None, description="Report a mean reward weighted by this prompt column as well.")

    @property
    def decoding(self) -> Decoding:
        """The same for a decoder."""
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
    initial_rewards_R: NDArray[np.float64] | None,
    config: EvaluationConfig,
    *,
    beta: float,
    round: int,
    seed: int,
    progress: Progress,
    label_temperature: float | None = None,
) -> Evaluation:
    """Draw responses to the held-out prompts and measure them.

    Args:
        policy: the model; left with the reference it came with.
        prompts: the held-out prompts.
        reward: what scores responses; without one, only `kl` is measured.
        initial_rewards_R: the initial model's rewards on the same prompts, in the same order; None for that model.
        config: settings.
        beta: β in J.
        round: noted in the samples.
        seed: the only source of randomness.
        progress: told how many responses are done.
        label_temperature: T in P(a is preferred) = σ((r_a − r_b) / T), in units of `reward`. β log(π_θ/π_ref) is a
            label's log-odds, so the reward is one only over T. None where that is not known: then J is not measured.
    """
    if not prompts:
        return Evaluation({"mean_reward": None, "win_rate": None, "kl": None, "j": None}, [])
    responses = generate(
        policy,
        prompts,
        config.decoding,
        responses_per_prompt=config.responses_per_prompt,
        round=round,
        seed=seed,
        progress=progress,
        description="Evaluating",
    )
    asked = [p for p in prompts for _ in range(config.responses_per_prompt)]
    log_ratio_R = _log_ratios(policy, responses, config.max_tokens, progress)
    kl = float(log_ratio_R.mean())
    metrics: dict[str, Any] = {"mean_reward": None, "win_rate": None, "kl": kl, "j": None}
    with user_code(reward):
        rewards_R = None if reward is None else reward.score(asked, responses)
    if rewards_R is not None:
        baseline_R = rewards_R if initial_rewards_R is None else initial_rewards_R
        metrics["mean_reward"] = float(rewards_R.mean())
        metrics["win_rate"] = float((rewards_R > baseline_R).mean() + 0.5 * (rewards_R == baseline_R).mean())
        if label_temperature is not None:
            metrics["j"] = metrics["mean_reward"] / label_temperature - beta * kl
        metrics |= _grouped(asked, rewards_R, config)
    metrics["mean_length"] = float(np.mean([len(r.token_ids) for r in responses]))
    samples = [
        {
            "prompt_id": p.id,
            "prompt": p.as_trl(),
            "response": r.text,
            "reward": None if rewards_R is None else float(rewards_R[i]),
            "log_ratio": float(log_ratio_R[i]),
        }
        for i, (p, r) in enumerate(zip(asked, responses, strict=True))
    ]
    return Evaluation(metrics, samples)


def require_columns(prompts: Sequence[Prompt], config: EvaluationConfig) -> None:
    """Refuse held-out prompts that lack the columns which the evaluation groups or weighs by.

    Raises:
        DataError: if a column is missing or a weight is no number; the message names the prompt.
    """
    for key, column in (("group_by", config.group_by), ("weight", config.weight)):
        if column is None:
            continue
        for prompt in prompts:
            value = prompt.columns.get(column)
            if value is None or (key == "weight" and not (isinstance(value, int | float) and value >= 0)):
                need = "a column" if key == "group_by" else "a number from 0 up"
                raise DataError(
                    f"evaluation.{key} must name {need} of every held-out prompt, but `{column}` of prompt {prompt.id} "
                    f"is {value!r}: correct the key or the data.{nearest(column, prompt.columns)}"
                )
    if config.weight is not None and prompts and not any(p.columns[config.weight] for p in prompts):
        raise DataError(
            f"Some held-out prompt must have a weight, but `{config.weight}` is 0 for all: correct the data."
        )


def _log_ratios(
    policy: Policy, responses: Sequence[Response], max_tokens: int, progress: Progress
) -> NDArray[np.float64]:
    """log(π_θ(y|x) / π_ref(y|x)) of each response, π_ref the base model, `[R]`, in nats."""
    own_reference = policy.reference_folder
    try:
        policy.set_reference(None)
        return log_ratios(policy, responses, max_tokens, progress, "KL from the base model")
    finally:
        policy.set_reference(own_reference)


def _grouped(prompts: Sequence[Prompt], rewards_R: NDArray[np.float64], config: EvaluationConfig) -> dict[str, Any]:
    require_columns(prompts, config)
    found: dict[str, Any] = {}
    if config.group_by is not None:
        groups = np.array([str(p.columns[config.group_by]) for p in prompts])
        per_group = {str(g): float(rewards_R[groups == g].mean()) for g in sorted(set(groups.tolist()))}
        found["mean_reward_per_group"] = per_group
        found["mean_reward_over_groups"] = float(np.mean(list(per_group.values())))
    if config.weight is not None:
        weights_R = np.array([float(p.columns[config.weight]) for p in prompts])
        found["mean_reward_weighted"] = float(np.average(rewards_R, weights=weights_R))
    return found
