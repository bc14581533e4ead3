"""The components a recipe names, made when first used, so that a study that only records loads no model."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from typing import Literal, TypeVar

from duelist.acquisition.base import Acquisition
from duelist.acquisition.options import AcquisitionOptions
from duelist.annotators.base import Annotator
from duelist.data.prompts import PromptsConfig, PromptSet, load_prompts
from duelist.errors import RecipeError, user_code
from duelist.featurizers.base import Featurizer
from duelist.models.policy.config import PolicyConfig
from duelist.models.rewards.config import RewardModelConfig
from duelist.models.rewards.functions import Reward
from duelist.pairing.base import Pairing
from duelist.progress import Progress
from duelist.recipe.component_settings import acquisition_options, build
from duelist.recipe.preparation import prepare
from duelist.recipe.recipe import Recipe, policy_of, preparation_settings, uses_given_responses, with_prepared
from duelist.samplers.base import Sampler
from duelist.samplers.settings import DecodingConfig
from duelist.settings.importing import import_object
from duelist.study.targets import Targets
from duelist.trainers.base import Planned, RewardTrainer, Trainer, TrainingPlan
from duelist.trainers.initial_preferences import LabelledConfig

T = TypeVar("T")


class Parts:
    """What a recipe's names stand for."""

    def __init__(self, recipe: Recipe, progress: Progress) -> None:
        self._recipe = recipe
        self._progress = progress

    @cached_property
    def _ready(self) -> Recipe:
        """The recipe with `{prepared}` filled in; what must be prepared is made now."""
        return prepared(self._recipe, self._progress)

    @cached_property
    def policy_config(self) -> PolicyConfig:
        """How to load the policy.

        Raises:
            RecipeError: if the recipe has none.
        """
        return policy_of(self._ready)

    @cached_property
    def reward_model_config(self) -> RewardModelConfig:
        """The reward model that the study trains."""
        return self._ready.reward_model or RewardModelConfig()

    @property
    def prompts_config(self) -> PromptsConfig:
        """Where prompts come from."""
        return self._ready.prompts

    @cached_property
    def plan(self) -> TrainingPlan:
        """What is trained, and on what."""
        return self._build("trainer", Planned).plan

    @property
    def trains(self) -> Literal["policy", "reward_model"]:
        """What the study trains."""
        return self.plan.trains

    @cached_property
    def reward_trainer(self) -> RewardTrainer:
        """Labels -> reward model."""
        return self._build("trainer", RewardTrainer)

    @property
    def labelled(self) -> LabelledConfig | None:
        """The preferences that the policy is trained on before round 1, if any."""
        return self._ready.initial

    @cached_property
    def prompts(self) -> PromptSet:
        """The prompts, to train on and held out."""
        return load_prompts(self._ready.prompts, self._recipe.seed, responses=uses_given_responses(self._recipe))

    @cached_property
    def sampler(self) -> Sampler:
        """Prompts -> responses."""
        return self._build("sampler", Sampler)

    @cached_property
    def targets(self) -> Targets:
        """The prompts that matter."""
        given = uses_given_responses(self._recipe)
        return Targets.load(self._ready.target, self.prompts, self._recipe.seed, responses=given)

    @cached_property
    def target_sampler(self) -> Sampler:
        """Target prompts -> responses: the data set's, or the policy's own, decoded as the recipe's sampler does."""
        settings = dict(self._ready.sampler)
        if settings["name"] != "dataset":
            decoding = {k: v for k, v in settings.items() if k in DecodingConfig.model_fields}
            count = self._ready.target.responses_per_prompt
            settings = {"name": "vanilla", **decoding, "responses_per_prompt": count}
        return build("sampler", settings, Sampler)

    @cached_property
    def pairing(self) -> Pairing:
        """Responses -> candidate pairs."""
        return self._build("pairing", Pairing)

    @cached_property
    def featurizers(self) -> Sequence[Featurizer]:
        """Pairs -> features."""
        return [build("featurizer", {"name": name, **c}, Featurizer) for name, c in self._ready.featurizers.items()]

    @cached_property
    def acquisition(self) -> Acquisition:
        """Features -> selection."""
        return self._build("acquisition", Acquisition)

    @cached_property
    def acquisition_options(self) -> AcquisitionOptions:
        """What the acquisition was told beside its own settings."""
        return acquisition_options(self._ready.acquisition)

    @cached_property
    def trainer(self) -> Trainer:
        """Labels -> policy."""
        return self._build("trainer", Trainer)

    @cached_property
    def annotator(self) -> Annotator:
        """Pairs -> labels.

        Raises:
            RecipeError: if the recipe names none.
        """
        require_annotator(self._ready)
        return self._build("annotator", Annotator)

    @cached_property
    def reward(self) -> Reward | None:
        """What the evaluation scores by: the recipe's `reward`, or the annotator's own."""
        if self._ready.reward is not None:
            return self._build("reward", Reward)
        return None if self._ready.annotator is None else getattr(self.annotator, "reward", None)

    @cached_property
    def label_temperature(self) -> float | None:
        """Bradley–Terry temperature of the labels, in units of what the evaluation scores by; None where not known."""
        if self._ready.reward is not None or self._ready.annotator is None:
            return None  # another reward than the one that decides, or people
        return getattr(self.annotator, "label_temperature", None)

    def _build(self, kind: str, interface: type[T]) -> T:
        return build(kind, getattr(self._ready, kind), interface)


def require_annotator(recipe: Recipe) -> None:
    """Refuse a recipe without annotator, where a study is to run by itself.

    Raises:
        RecipeError: if it names none.
    """
    if recipe.annotator is None:
        raise RecipeError("`annotator` must be set to run a study by itself, but it is null: use ask() and tell().")


def prepared(recipe: Recipe, progress: Progress) -> Recipe:
    """The recipe with `{prepared}` filled in; what must be prepared is made now.

    Raises:
        RecipeError: if the function does not take the settings.
        DuelistError: if it fails.
    """
    if recipe.prepare is None:
        return recipe
    function = recipe.prepare.function
    with user_code(import_object(function)):
        return with_prepared(recipe, prepare(function, preparation_settings(recipe), progress))
