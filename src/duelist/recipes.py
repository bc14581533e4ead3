"""Recipes: a file that says what a study does, the configurations it stands for, and the parts built from them.

A component is named in a recipe by its short name (the table below) or by a dotted path to a class of yours; its
settings are the class' own, found by the annotation of its constructor's `config` parameter.
"""

from __future__ import annotations

import inspect
import typing
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Literal, Self

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from duelist.acquisition.options import AcquisitionOptions
from duelist.components import COMPONENTS
from duelist.errors import RecipeError
from duelist.evaluation.held_out import EvaluationConfig
from duelist.importing import import_object
from duelist.models.policy_config import PolicyConfig
from duelist.models.reward_model_config import RewardModelConfig
from duelist.models.server_config import ServerConfig
from duelist.prompts.dataset import PromptsConfig
from duelist.prompts.labelled import LabelledConfig
from duelist.rounds import Schedule, fill_mean_budget, require_listed_budgets, require_online_keys
from duelist.settings import explain_invalid, nearest, read_yaml
from duelist.shipped import recipe_path
from duelist.stopping import StopConfig
from duelist.targets import TargetConfig

Component = dict[str, Any]
SEED = "{seed}"  # in `prepare.settings`: the recipe's seed
# Keys whose values can be paths, in whatever component they stand.
PATH_KEYS = (
    "path",
    "held_out_path",
    "model",
    "chat_template",
    "data",
    "world",
    "initial_adapter",
    "initial_model",
    "labelled",
)


class PrepareConfig(BaseModel):
    """What must exist before the study: made once by a function of yours, and cached.

    `{prepared}` anywhere in the recipe stands for the folder that the function filled. `{seed}` in a setting stands for
    the recipe's `seed`, so that studies of different seeds differ in what is prepared too.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    function: str = Field(description="`package.module:name` or `file.py:name`; called as f(folder, **settings).")
    settings: dict[str, Any] = Field(
        default_factory=dict, description='Keyword arguments of the function; "{seed}" stands for the recipe\'s seed.'
    )


class Recipe(BaseModel):
    """Everything a study does. Unknown keys are refused."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str = Field(description="The recipe's name.")
    description: str = Field(default="", description="What it shows, in a sentence.")
    seed: int = Field(default=0, ge=0, description="The root of all randomness.")
    rounds: int = Field(ge=1, description="Rounds, T.")
    budget: int = Field(ge=1, description="Pairs asked per round, B. The mean, where `schedule` says otherwise.")
    schedule: Schedule = Field(
        default="constant",
        description="How rounds × budget is split over rounds: constant, decrease (T:T−1:…:1), increase, or a list.",
    )
    stop: StopConfig | None = Field(default=None, description="End before the budget is spent; null: never.")
    beta: float = Field(default=0.1, gt=0, description="β of DPO and of the implicit reward.")
    pool: Literal["regenerate", "fixed"] = Field(
        default="regenerate", description="Draw the responses anew each round, or once."
    )
    initial_random: int = Field(
        default=0, ge=0, description="The first so many pairs of the study are drawn at random."
    )
    torch_threads: int = Field(
        default=1, ge=1, description="CPU threads of torch; results are equal for equal threads."
    )
    prepare: PrepareConfig | None = Field(default=None, description="Make models and data first.")
    prompts: PromptsConfig = Field(description="Where prompts come from.")
    initial: LabelledConfig | None = Field(
        default=None,
        description="Train the policy on preferences that are there already before round 1 asks anything; the "
        "reference stays the base model.",
    )
    policy: PolicyConfig | None = Field(
        default=None, description="The model to align; may be null where a reward model is trained."
    )
    reward_model: RewardModelConfig | None = Field(
        default=None, description="The reward model that trainer `bradley_terry` trains; null elsewhere."
    )
    sampler: Component = Field(default_factory=lambda: {"name": "vanilla"}, description="Prompts -> responses.")
    decoder: ServerConfig | None = Field(
        default=None, description="A server (vLLM) that decodes the sampler's responses; null: this process."
    )
    pairing: Component = Field(default_factory=lambda: {"name": "in_prompt"}, description="Responses -> pairs.")
    featurizers: dict[str, dict[str, Any]] = Field(
        default={"margin": {}, "gradient": {}}, description="Pairs -> features, by name."
    )
    acquisition: Component = Field(default_factory=lambda: {"name": "activedpo"}, description="Features -> choice.")
    online: bool = Field(default=False, description="A round is one optimizer step, by one optimizer for the study.")
    checkpoint_every: int | None = Field(
        default=None, ge=1, description="Online: keep the weights every so many rounds; null: 10."
    )
    target: TargetConfig = Field(
        default_factory=TargetConfig, description="The prompts that matter, for acquisitions that need to know them."
    )
    annotator: Component | None = Field(default=None, description="Pairs -> labels; null where people answer by tell.")
    trainer: Component = Field(default_factory=lambda: {"name": "dpo"}, description="Labels -> policy.")
    evaluation: EvaluationConfig = Field(default_factory=EvaluationConfig, description="Policy -> metrics.")
    reward: Component | None = Field(
        default=None, description="What the evaluation scores by; null: the annotator's own reward, if it has one."
    )
    compare: dict[str, dict[str, Any]] = Field(
        default_factory=dict, description="Other studies beside this one: name -> top-level keys that differ."
    )

    @model_validator(mode="before")
    @classmethod
    def _filled(cls, values: Any) -> Any:
        return fill_mean_budget(values)

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        require_listed_budgets(self.schedule, self.rounds, self.budget)
        require_online_keys(self.online, self.checkpoint_every)
        return self


def policy_of(recipe: Recipe) -> PolicyConfig:
    """The policy of a recipe.

    Raises:
        RecipeError: if it has none.
    """
    if recipe.policy is None:
        raise RecipeError(
            "A `policy` is needed, but the recipe has none: set `policy.model` to a folder or a hub name."
        )
    return recipe.policy


def trains_reward_model(recipe: Recipe) -> bool:
    """Whether the recipe's trainer trains a reward model rather than a policy."""
    from duelist.trainers.base import RewardTrainer

    return issubclass(_resolve("trainer", str(recipe.trainer["name"]))[0], RewardTrainer)


def load_recipe(source: str | Path, overrides: Iterable[str] = ()) -> Recipe:
    """Read a recipe from a file, or a shipped one by name, apply `a.b=c` overrides, and validate every setting.

    Args:
        source: a YAML file's path, or the name of a shipped recipe.
        overrides: `key.path=value`, the value in YAML.

    Raises:
        RecipeError: if there is no such recipe, or a key or value is not usable; the nearest valid key is named.
    """
    path = recipe_path(source)
    try:
        content = read_yaml(path.read_text(encoding="utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError, OSError) as error:
        raise RecipeError(
            f"A recipe must be a readable YAML file, but {path} is not: {error}. Mend the file."
        ) from error
    if not isinstance(content, dict):
        raise RecipeError(
            f"A recipe must be a mapping of keys to values, but {path} holds a {type(content).__name__}: see a shipped "
            "recipe (`duelist recipes`)."
        )
    content = _map_strings(content, lambda text: text.replace("{recipe}", str(path.parent.resolve())))
    for change in overrides:
        override(content, change)
    return parse_recipe(_anchored(content))


def parse_recipe(content: Mapping[str, Any]) -> Recipe:
    """Validate a recipe's content, and fill in every default, those of the components too.

    Raises:
        RecipeError: if a key or value is not usable; the nearest valid key is named.
    """
    values = {k: _named(k, v) for k, v in content.items()}
    try:
        recipe = Recipe.model_validate(values)
    except ValidationError as error:
        raise RecipeError(explain_invalid(error, Recipe, "the recipe")) from error
    filled: dict[str, Any] = {}
    if trains_reward_model(recipe):
        if "featurizers" not in values:
            recipe = recipe.model_copy(update={"featurizers": {"reward_head": {}, "embedding": {}}})
        filled["reward_model"] = recipe.reward_model or RewardModelConfig()
    _require_what_is_trained(recipe)
    for kind in ("sampler", "pairing", "acquisition", "annotator", "trainer", "reward"):
        component = getattr(recipe, kind)
        if component is not None:
            filled[kind] = _with_defaults(kind, component)
    filled["featurizers"] = {}
    for name, settings in recipe.featurizers.items():
        full = _with_defaults("featurizer", {"name": name, **(settings or {})})
        filled["featurizers"][name] = {k: v for k, v in full.items() if k != "name"}
    for arm, differences in recipe.compare.items():
        if not arm.replace("-", "").replace("_", "").isalnum():
            raise RecipeError(f"An arm's name must be letters, digits, - and _, but got {arm!r}: rename it.")
        try:
            parse_recipe({**values, **differences, "compare": {}})
        except RecipeError as error:
            raise RecipeError(f"Every arm must be a valid recipe, but `compare.{arm}` is not. {error}") from error
    return recipe.model_copy(update=filled)


def _require_what_is_trained(recipe: Recipe) -> None:
    name = recipe.trainer["name"]
    if trains_reward_model(recipe):
        return
    if recipe.reward_model is not None:
        raise RecipeError(
            f"`reward_model` is what trainer `bradley_terry` trains, but the trainer is {name!r}: use that trainer, or "
            "leave `reward_model` out (an annotator of that name is set under `annotator`)."
        )
    if recipe.policy is None:
        raise RecipeError(f"`policy` must be set, for trainer {name!r} trains it: set `policy.model`.")
    pairing = _resolve("pairing", str(recipe.pairing["name"]))[0]
    if getattr(pairing, "crosses_prompts", False):
        raise RecipeError(
            f"Trainer {name!r} needs two responses to one prompt, but pairing {recipe.pairing['name']!r} crosses "
            "prompts: use pairing `in_prompt`, or train a reward model (trainer `bradley_terry`)."
        )


def arms(recipe: Recipe) -> dict[str, Recipe]:
    """The recipes of the studies beside this one."""
    content = recipe_content(recipe)
    return {
        arm: parse_recipe({**content, **differences, "name": f"{recipe.name} ({arm})", "compare": {}})
        for arm, differences in recipe.compare.items()
    }


def recipe_content(recipe: Recipe) -> dict[str, Any]:
    """The recipe as plain data, every default filled in; `parse_recipe` reads it back."""
    return recipe.model_dump(mode="json", by_alias=True)


def completed(saved: dict[str, Any]) -> dict[str, Any]:
    """A saved recipe's content with the defaults of keys that are newer than it."""
    return recipe_content(parse_recipe(saved))


def uses_given_responses(recipe: Recipe) -> bool:
    """Whether the data set's own responses matter; a sampler or pairing of the user's may look at them."""
    drawn = recipe.sampler["name"] in COMPONENTS["sampler"] and recipe.sampler["name"] != "dataset"
    return not (drawn and recipe.pairing["name"] in ("in_prompt", "as_drawn"))


def preparation_settings(recipe: Recipe) -> dict[str, Any]:
    """The arguments of the function that prepares the study: `prepare.settings` with `{seed}` filled in.

    A setting that is `"{seed}"` as a whole becomes the integer; inside a longer text it becomes its digits.
    """
    if recipe.prepare is None:
        return {}
    seed = recipe.seed
    filled = _map_strings(recipe.prepare.settings, lambda s: seed if s == SEED else s.replace(SEED, str(seed)))
    return dict(filled)


def with_prepared(recipe: Recipe, folder: Path) -> Recipe:
    """The recipe with `{prepared}` replaced by the folder that was prepared."""
    return parse_recipe(_map_strings(recipe_content(recipe), lambda text: text.replace("{prepared}", str(folder))))


def parse_component(kind: str, value: str | Mapping[str, Any]) -> Component:
    """A component from its bare name, or from its name and settings, every default filled in.

    Raises:
        RecipeError: if there is no such component, or a setting is not usable.
    """
    return _with_defaults(kind, {"name": value} if isinstance(value, str) else dict(value))


def build(kind: str, component: Component) -> Any:
    """Make a component from its name and settings."""
    cls, config_type = _resolve(kind, str(component["name"]))
    own, _ = _split_options(kind, component)
    return cls() if config_type is None else cls(_configuration(kind, own, config_type))


def acquisition_options(component: Component) -> AcquisitionOptions:
    """What an acquisition's component says beside the rule's own settings.

    Raises:
        RecipeError: if a value is not usable.
    """
    _, options = _split_options("acquisition", component)
    try:
        return AcquisitionOptions.model_validate(options)
    except ValidationError as error:
        raise RecipeError(explain_invalid(error, AcquisitionOptions, "`acquisition`")) from error


def _split_options(kind: str, component: Component) -> tuple[Component, Component]:
    """A component's own settings, and those that every acquisition has."""
    common = AcquisitionOptions.model_fields if kind == "acquisition" else {}
    own = {k: v for k, v in component.items() if k not in common}
    return own, {k: v for k, v in component.items() if k in common}


def _named(key: str, value: Any) -> Any:
    """A component as a mapping with its name: a bare name stands for it, and settings alone are the default's."""
    if key not in COMPONENTS or key not in Recipe.model_fields:
        return value
    if isinstance(value, str):
        return {"name": value}
    default = Recipe.model_fields[key].get_default(call_default_factory=True)
    return {**default, **value} if isinstance(value, dict) and default else value


def _resolve(kind: str, name: str) -> tuple[type, type[BaseModel] | None]:
    table = COMPONENTS[kind]
    if name not in table and ":" not in name:
        raise RecipeError(
            f"`{kind}.name` must be one of {', '.join(table)}, or a dotted path `package.module:Class`, but got "
            f"{name!r}.{nearest(name, table)}"
        )
    cls = import_object(table.get(name, name))
    if not inspect.isclass(cls):
        raise RecipeError(
            f"`{kind}.name` must name a class, but {name} is a {type(cls).__name__}: name a class instead."
        )
    hints = typing.get_type_hints(cls.__init__)
    config_type = hints.get("config")
    return cls, config_type


def _configuration(kind: str, component: Component, config_type: type[BaseModel]) -> BaseModel:
    settings = {k: v for k, v in component.items() if k != "name"}
    try:
        return config_type.model_validate(settings)
    except ValidationError as error:
        raise RecipeError(explain_invalid(error, config_type, f"{kind} {component['name']!r}")) from error


def _with_defaults(kind: str, component: Component) -> Component:
    if "name" not in component:
        raise RecipeError(
            f"`{kind}` must say its `name`, but has only {', '.join(component) or 'no key'}: add one of "
            f"{', '.join(COMPONENTS[kind])}."
        )
    _, config_type = _resolve(kind, str(component["name"]))
    own, _ = _split_options(kind, component)
    options: Component = {}
    if kind == "acquisition":
        options = acquisition_options(component).model_dump(mode="json", exclude_defaults=True)
    if config_type is None:
        extra = sorted(set(own) - {"name"})
        if extra:
            raise RecipeError(f"`{kind}` {component['name']!r} has no settings, but got {', '.join(extra)}: remove it.")
        return {**own, **options}
    config = _configuration(kind, own, config_type)
    return {"name": component["name"], **config.model_dump(mode="json", by_alias=True), **options}


def override(content: dict[str, Any], change: str) -> None:
    """Apply one `key.path=value` to a recipe's content, the value in YAML.

    Raises:
        RecipeError: if the change is not of that form, or its path does not fit the content.
    """
    key, equals, text = change.partition("=")
    if not equals or not key:
        raise RecipeError(f"An override is written `key.path=value`, as in `budget=100`, but got {change!r}.")
    *parents, last = key.split(".")
    target: Any = content
    for depth, parent in enumerate(parents):
        value = target.get(parent)
        if value is None:
            value = {}
        elif isinstance(value, str) and depth == 0 and parent in COMPONENTS:
            value = {"name": value}
        if not isinstance(value, dict):
            raise RecipeError(
                f"`--set {change}` needs a mapping at {parent!r}, but the recipe has {value!r}: correct the key."
            )
        target[parent] = value
        target = value
    try:
        target[last] = read_yaml(text)
    except yaml.YAMLError as error:
        raise RecipeError(f"The value of `--set {change}` must be YAML, but is not: {error}. Quote it.") from error


def _anchored(value: Any, key: str = "") -> Any:
    """Relative paths of things that exist, made absolute: a study goes on from whatever folder it is run in."""
    if isinstance(value, dict):
        return {k: _anchored(v, str(k)) for k, v in value.items()}
    if not isinstance(value, str):
        return value
    if key == "function":
        file, colon, name = value.rpartition(":")
        return f"{Path(file).resolve()}:{name}" if colon and file.endswith(".py") and Path(file).is_file() else value
    return str(Path(value).expanduser().resolve()) if key in PATH_KEYS and Path(value).expanduser().exists() else value


def _map_strings(value: Any, change: typing.Callable[[str], Any]) -> Any:
    if isinstance(value, str):
        return change(value)
    if isinstance(value, dict):
        return {k: _map_strings(v, change) for k, v in value.items()}
    return [_map_strings(v, change) for v in value] if isinstance(value, list) else value
