"""Recipe of a study: every setting that it has, with its default and what must hold of it."""

from __future__ import annotations

from typing import Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from duelist.acquisition.base import Acquisition
from duelist.acquisition.stopping import StopConfig
from duelist.annotators.base import Annotator
from duelist.data.known import KnownConfig
from duelist.data.prompts import PromptsConfig, TargetConfig
from duelist.engines.base import Engine
from duelist.errors import RecipeError
from duelist.evaluation.held_out import EvaluationConfig
from duelist.judges.judged_pool import JudgedPoolConfig
from duelist.models.decoding.server_config import ServerConfig
from duelist.models.policy.config import PolicyConfig
from duelist.models.rewards.config import RewardModelConfig
from duelist.models.rewards.functions import Reward
from duelist.pairing.base import Pairing
from duelist.recipe.budget_schedule import (
    Schedule,
    fill_mean_budget,
    require_listed_budgets,
    require_listed_prompts,
    require_online_keys,
)
from duelist.recipe.component import Component
from duelist.recipe.components import COMPONENTS
from duelist.recipe.featurizers import Featurizers
from duelist.recipe.preparation import PrepareConfig
from duelist.samplers.base import Sampler
from duelist.tracking.trackers import ReportTo
from duelist.trainers.base import Trainer
from duelist.trainers.initial_preferences import InitialConfig


def _default(name: str, description: str) -> Any:
    """Return a field whose default is the component `name`, as plain data that the documentation can show."""
    return Field(default={"name": name}, validate_default=True, description=description)


class Recipe(BaseModel):
    """Full configuration of a study. An unknown key is an error."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str = Field(description="Name of the recipe.")
    description: str = Field(default="", description="One sentence on what the recipe shows.")
    seed: int = Field(default=0, ge=0, description="Random seed, the root of all randomness.")
    rounds: int = Field(ge=1, le=1_000_000, description="Number of rounds, T.")
    budget: int = Field(
        ge=1,
        le=1_000_000_000,
        description="Questions asked per round, B. With another `schedule` than constant, the mean.",
    )
    schedule: Schedule = Field(
        default="constant",
        description="How rounds × budget is split over rounds: constant, decrease (T:T−1:…:1), increase, or a list.",
    )
    stop: StopConfig | None = Field(
        default=None, description="Stopping rule that ends the study before the budget is spent; null: none."
    )
    beta: float = Field(default=0.1, gt=0, description="β of DPO and of the implicit reward.")
    pool: Literal["regenerate", "fixed"] = Field(
        default="regenerate", description="Redraw the responses each round (regenerate), or draw them once (fixed)."
    )
    initial_random: int = Field(
        default=0, ge=0, description="Number of questions drawn at random before the acquisition rule starts."
    )
    torch_threads: int = Field(
        default=1, ge=1, le=4096, description="CPU threads of torch. Equal numbers of threads give equal results."
    )
    prepare: PrepareConfig | None = Field(default=None, description="Models and data to create first.")
    prompts: PromptsConfig = Field(description="Source of the prompts.")
    initial: InitialConfig | None = Field(
        default=None,
        description="Training before round 1: supervised fine-tuning, existing preferences, or both; null: none.",
    )
    known: KnownConfig | None = Field(
        default=None,
        description="Preferences known before round 1: trained on like labels, and past questions for the rule.",
    )
    policy: PolicyConfig | None = Field(
        default=None, description="Model to align; may be null if a reward model is trained."
    )
    reward_model: RewardModelConfig | None = Field(
        default=None, description="Reward model that trainer `bradley_terry` trains; null for other trainers."
    )
    sampler: Component[Sampler] = _default("vanilla", "Prompts -> responses.")
    control_fraction: float = Field(
        default=0.0,
        ge=0,
        le=1,
        description="Share of each batch drawn at random from the whole pool, beside the rule's picks: the control "
        "slice. It is rounded to whole questions, one at least.",
    )
    decoder: ServerConfig | None = Field(
        default=None, description="Server (vLLM) that generates the sampler's responses; null: this process."
    )
    pairing: Component[Pairing] = _default("in_prompt", "Responses -> questions.")
    featurizers: Featurizers = Field(
        default_factory=lambda: {"margin": {}, "gradient": {}},
        validate_default=True,
        description="Pairs -> features, by name.",
    )
    acquisition: Component[Acquisition] = _default("policy_gap", "Features -> selection.")
    online: bool = Field(
        default=False, description="One optimizer step per round, by one optimizer for the whole study."
    )
    lookahead: int = Field(
        default=0,
        ge=0,
        le=1,
        description="1: a round's batch is selected with the model of one round earlier, before the answers of the "
        "round in progress, so that people need not wait while the policy is trained.",
    )
    checkpoint_every: int | None = Field(
        default=None, ge=1, description="Online: number of rounds between checkpoints; null: 10."
    )
    target: TargetConfig = Field(
        default_factory=TargetConfig, description="Target prompts, for acquisitions that need them."
    )
    annotator: Component[Annotator] | None = Field(
        default=None, description="Pairs -> labels; null for labels submitted with `tell`."
    )
    judged_pool: JudgedPoolConfig | None = Field(
        default=None, description="Judge that labels the asked pairs too, and more of each round's pool; null: none."
    )
    trainer: Component[Trainer[Any, Any]] = _default("dpo", "Labels -> policy.")
    evaluation: EvaluationConfig = Field(default_factory=EvaluationConfig, description="Policy -> metrics.")
    reward: Component[Reward] | None = Field(
        default=None, description="Reward of the evaluation; null: the annotator's own reward, if it has one."
    )
    engine: Component[Engine] = _default(
        "local",
        "Who decodes responses and computes their log-probabilities and gradients: this process, or workers. May "
        "change when a study is resumed.",
    )
    report_to: ReportTo = Field(
        default_factory=list,
        description="Trackers of the whole study (trackio, tensorboard, wandb, mlflow): one run, labels as the step.",
    )
    compare: dict[str, dict[str, Any]] = Field(
        default_factory=dict, description="Comparison arms: name -> top-level keys that differ."
    )
    compare_seeds: int = Field(
        default=1,
        ge=1,
        le=1000,
        description="Number of seeds on which `duelist run` runs the study and its arms: `seed`, and those that follow "
        "it in seeds/.",
    )

    @model_validator(mode="before")
    @classmethod
    def _filled(cls, values: Any) -> Any:
        """Fill in the default component's name for settings without a name, and the mean budget."""
        if not isinstance(values, dict):
            return values
        for kind in COMPONENTS.keys() & values.keys() & cls.model_fields.keys():
            default = cls.model_fields[kind].default
            if default and isinstance(values[kind], dict):
                values = {**values, kind: {**default, **values[kind]}}
        return fill_mean_budget(values)

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        require_listed_budgets(self.schedule, self.rounds, self.budget)
        require_online_keys(self.online, self.checkpoint_every)
        if self.online and self.lookahead:
            raise ValueError(
                "Online, a round is one optimizer step, so no batch can be selected before it, but `lookahead` is 1: "
                "set it to 0, or `online` to false."
            )
        if self.stop is not None and self.acquisition.options.lure is not None:
            raise ValueError(
                "`stop` reads the gain of the best remaining label, which `acquisition.lure` does not compute, but "
                "both are set: set one of them to null."
            )
        require_listed_prompts(self.prompts.per_round, self.rounds, self.pool)
        if self.initial is not None:
            self.initial.require_fine_tunable(self.policy, self.known)
        if self.decoder is not None and self.policy is not None and self.policy.adapter == "none":
            raise ValueError(
                "A server is given the round's adapter, but this policy trains all its parameters: set `decoder: null` "
                "or `policy.adapter: lora`."
            )
        return self


def policy_of(recipe: Recipe) -> PolicyConfig:
    """Return the policy of a recipe.

    Raises:
        RecipeError: if it has no policy.
    """
    if recipe.policy is None:
        raise RecipeError(
            "A `policy` is needed, but the recipe has none: set `policy.model` to a folder or a hub name."
        )
    return recipe.policy


def trains_reward_model(recipe: Recipe) -> bool:
    """Return whether the recipe's trainer trains a reward model rather than a policy."""
    trainer: Any = recipe.trainer.cls
    return bool(trainer.trains == "reward_model")


def labelled_start(recipe: Recipe) -> bool:
    """Return whether the policy is trained on labelled data before round 1."""
    return recipe.initial is not None and recipe.initial.labelled is not None


def starts_as_reference(recipe: Recipe) -> bool:
    """Return whether the policy of round 0 is the base model, as the initial reference is."""
    given = () if recipe.policy is None else (recipe.policy.initial_model, recipe.policy.initial_adapter)
    return not labelled_start(recipe) and all(start is None for start in given)


def recipe_content(recipe: Recipe) -> dict[str, Any]:
    """Return the recipe as plain data with every default filled in; `parse_recipe` reads it back."""
    return recipe.model_dump(mode="json", by_alias=True)


def uses_given_responses(recipe: Recipe) -> bool:
    """Return whether the recipe uses the data set's own responses."""
    origins = recipe.sampler.cls.origins
    return origins is None or "dataset" in origins or recipe.pairing.cls.uses_given
