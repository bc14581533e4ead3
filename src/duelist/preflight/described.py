"""A described machine (`duelist plan --machine FILE`), and the seconds that a round would take there: a projection.

Formula:   seconds = tokens / rate for each kind of work; a rate is measured, or computed from the machine's TFLOPs with
           P parameters: logprobs u·F / 2P, gradients u·F / 4P (frozen weights have no gradient of their own), training
           u·F / 6P with an adapter and u·F / 8P without (policy and reference), generation
           batch / (bytes of the weights / bandwidth + batch · 2P / (u·F)).
Source:    2P FLOPs per token forward and twice as many backward: Kaplan et al., arXiv 2001.08361, Section 2.1.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Self

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from duelist.errors import RecipeError
from duelist.preflight.plan import BYTES, PROMPT_TOKENS, Plan
from duelist.preflight.work import EPOCHS, GENERATIONS, RL, RoundWork
from duelist.recipe.recipe import Recipe
from duelist.settings.validation import expanded, explain_invalid, read_yaml

# Seconds per value that the selection reads, about twice per candidate: docs/performance.md, 10⁶ × 8,192 in 41.4 s.
SECONDS_PER_VALUE = 2.6e-9


class RatesConfig(BaseModel):
    """Measured rates of one device, in tokens per second; null: computed from `tflops`."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    generation: float | None = Field(default=None, gt=0, description="Generated tokens, at the recipe's batch size.")
    logprobs: float | None = Field(default=None, gt=0, description="Tokens forward.")
    gradients: float | None = Field(default=None, gt=0, description="Tokens forward and backward for features.")
    training: float | None = Field(default=None, gt=0, description="Tokens of training, the reference included.")


class MachineConfig(BaseModel):
    """Description of a machine."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str = Field(description="Name of the machine.")
    devices: int = Field(default=1, ge=1, description="Number of equal devices that share the work.")
    memory_gib: float = Field(gt=0, description="Memory of one device.")
    disk_gib: float = Field(gt=0, description="Free disk space.")
    tflops: float | None = Field(default=None, gt=0, description="Peak of one device, in the type of the weights.")
    utilisation: float = Field(default=0.35, gt=0, le=1, description="Share of the peak that is reached.")
    bandwidth_gb: float | None = Field(default=None, gt=0, description="Memory bandwidth of one device, GB per second.")
    rates: RatesConfig = Field(default_factory=RatesConfig, description="Measured rates.")
    price_per_hour: float = Field(default=0.0, ge=0, description="Price of the whole machine per hour.")
    currency: str = Field(default="USD", description="Currency of the price.")

    @model_validator(mode="after")
    def _every_rate(self) -> Self:
        unknown = [name for name, value in self.rates if value is None]
        if self.tflops is None and unknown:
            raise ValueError(f"`tflops` is needed to compute rates.{unknown[0]}: give one of the two.")
        if self.bandwidth_gb is None and self.rates.generation is None:
            raise ValueError("`bandwidth_gb` is needed to compute rates.generation: give one of the two.")
        return self


def read_machine(file: str | Path) -> MachineConfig:
    """Return the machine that a YAML file describes.

    Raises:
        RecipeError: if the file cannot be read, or a key or value is invalid.
    """
    path = expanded(str(file))
    try:
        content = read_yaml(path.read_text(encoding="utf-8"))
        return MachineConfig.model_validate(content)
    except ValidationError as error:
        raise RecipeError(explain_invalid(error, MachineConfig, f"the machine of {path}")) from error
    except (yaml.YAMLError, UnicodeDecodeError, OSError) as error:
        raise RecipeError(f"A machine is described by a readable YAML file, but {path} is not: {error}.") from error


def rates_of(machine: MachineConfig, recipe: Recipe, parameters: int) -> dict[str, float]:
    """Return the rates of one device for a recipe's model, in tokens per second, by kind of work."""
    policy = recipe.policy
    assert policy is not None
    flops = (machine.tflops or 0.0) * 1e12 * machine.utilisation
    batch = int(recipe.sampler.setting("batch_size") or recipe.evaluation.batch_size)
    computed = {
        "logprobs": flops / (2 * parameters),
        "gradients": flops / (4 * parameters),
        "training": flops / ((6 if policy.adapter == "lora" else 8) * parameters),
    }
    if machine.bandwidth_gb is not None and flops:
        step = parameters * BYTES[policy.dtype] / (machine.bandwidth_gb * 1e9) + batch * 2 * parameters / flops
        computed["generation"] = batch / step
    return computed | {name: value for name, value in machine.rates if value is not None}


def seconds_on(machine: MachineConfig, recipe: Recipe, plan: Plan, work: RoundWork) -> Mapping[str, float]:
    """Return the seconds of each stage of a round that a language model takes; others are left out.

    Responses are counted at full length, and prompts at an assumed one, so this is an upper bound at these rates.

    Args:
        machine: the machine; its devices share the work without loss.
        recipe: the recipe.
        plan: its plan, with the number of parameters.
        work: the round's work.
    """
    if recipe.policy is None or not plan.base_parameters:
        return {}
    rate = {k: v * machine.devices for k, v in rates_of(machine, recipe, plan.base_parameters).items()}
    stages, needs = work.stages, recipe.acquisition.build().needs
    drawn = float(recipe.sampler.setting("max_new_tokens") or recipe.evaluation.max_new_tokens)
    found: dict[str, float] = {}
    if "sample" in stages and recipe.sampler.setting("max_new_tokens"):
        found["sample"] = stages["sample"]["responses"] * drawn / rate["generation"]
    of_features = stages.get("featurize", {})
    tokens = (of_features.get("responses", 0.0) + of_features.get("past", 0.0)) * (drawn + PROMPT_TOKENS)
    if tokens and "gradient_ND" in needs:
        gradient = recipe.featurizers.get("gradient")
        width = (gradient and gradient.setting("dimension")) or plan.trained_parameters or 0
        found["featurize"] = tokens / rate["gradients"]
        found["select"] = 2 * stages["select"]["questions"] * width * SECONDS_PER_VALUE
    if tokens and {"margin_N", "log_ratio_N2", "gradient_ND"} & needs:
        found["featurize"] = found.get("featurize", 0.0) + 2 * tokens / rate["logprobs"]
    training: Any = stages.get("train") or stages.get("step") or {}
    for settings in recipe.trainer.build().trl_settings if work.round else ():
        epochs = float(settings.train.get("num_train_epochs", EPOCHS))
        items = 2 * training.get("decisions", 0.0)
        if settings.config in RL:
            items = training["prompts"] * int(settings.train.get("num_generations", GENERATIONS))
            generated = epochs * items * float(settings.train.get("max_completion_length", drawn))
            found["train"] = found.get("train", 0.0) + generated / rate["generation"]
        found["train"] = found.get("train", 0.0) + epochs * items * (drawn + PROMPT_TOKENS) / rate["training"]
    if "evaluate" in stages:
        written, longest = stages["evaluate"]["responses"], recipe.evaluation.max_new_tokens
        found["evaluate"] = written * longest / rate["generation"]
        found["evaluate"] += 2 * written * (longest + PROMPT_TOKENS) / rate["logprobs"]
    return found
