"""Reading a recipe: from a file or from plain data, with overrides, validated, with every default filled in."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import yaml
from pydantic import ValidationError

from duelist.errors import RecipeError
from duelist.models.rewards.config import RewardModelConfig
from duelist.recipe.featurizers import featurizers_of
from duelist.recipe.recipe import Recipe, recipe_content, trains_reward_model
from duelist.recipe.shipped import recipe_path
from duelist.recipe.values import anchored, map_strings, override, require_arm_name, require_name, require_plain
from duelist.settings.credentials import require_no_credentials
from duelist.settings.lookups import PREPARED
from duelist.settings.validation import explain_invalid, read_yaml

LARGEST_FILE = 2**20  # bytes of a recipe
WITHOUT_ARMS: dict[str, Any] = {"compare": {}, "compare_seeds": 1}  # of one study of several
SEED = "{seed}"  # in `prepare.settings`: the recipe's seed


def load_recipe(source: str | Path, overrides: Iterable[str] = ()) -> Recipe:
    """Read a recipe from a file, or a shipped recipe by name, apply `a.b=c` overrides, and validate every setting.

    Args:
        source: path of a YAML file, or name of a shipped recipe.
        overrides: `key.path=value`, with the value in YAML.

    Raises:
        RecipeError: if there is no such recipe, or a key or value is invalid; the message names the nearest valid key.
    """
    path = recipe_path(source)
    try:
        if path.stat().st_size > LARGEST_FILE:
            raise OSError(f"it has more than {LARGEST_FILE:,} bytes")
        content = read_yaml(path.read_text(encoding="utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError, OSError) as error:
        raise RecipeError(
            f"A recipe must be a readable YAML file, but {path} is not: {error}. Fix the file."
        ) from error
    if not isinstance(content, dict):
        holds = "is empty" if content is None else f"holds a {type(content).__name__}"
        raise RecipeError(
            f"A recipe must be a mapping of keys to values, but {path} {holds}: see a shipped recipe (`duelist "
            "recipes`)."
        )
    content = map_strings(content, lambda text: text.replace("{recipe}", str(path.parent.resolve())))
    for change in overrides:
        override(content, change)
    return parse_recipe(anchored(content))


def parse_recipe(content: Mapping[str, Any]) -> Recipe:
    """Validate a recipe's content, and fill in every default, including those of the components.

    Raises:
        RecipeError: if a key or value is invalid; the message names the nearest valid key.
    """
    require_no_credentials(content)
    recipe = saved_recipe(content)
    require_name(recipe.name)
    return recipe


def saved_recipe(content: Mapping[str, Any]) -> Recipe:
    """Validate the recipe that a study was started with, without the checks that apply only to new recipes.

    Raises:
        RecipeError: if a key or value is invalid; the message names the nearest valid key.
    """
    require_plain(content, "")
    try:
        recipe = Recipe.model_validate(dict(content))
    except ValidationError as error:
        raise RecipeError(explain_invalid(error, Recipe, "the recipe")) from error
    if trains_reward_model(recipe):
        if recipe.evaluation.judge is not None:
            raise RecipeError(
                "`evaluation.judge` compares a policy's responses, but this recipe trains a reward model: leave it out."
            )
        filled: dict[str, Any] = {"reward_model": recipe.reward_model or RewardModelConfig()}
        if "featurizers" not in content:
            filled["featurizers"] = featurizers_of({"reward_head": {}, "embedding": {}})
        recipe = recipe.model_copy(update=filled)
    else:
        _require_policy(recipe)
    for arm, differences in recipe.compare.items():
        require_arm_name(arm)
        try:
            saved_recipe({**content, **differences, **WITHOUT_ARMS})
        except RecipeError as error:
            raise RecipeError(f"Every arm must be a valid recipe, but `compare.{arm}` is not. {error}") from error
    return recipe


def _require_policy(recipe: Recipe) -> None:
    name = recipe.trainer.name
    if recipe.reward_model is not None:
        raise RecipeError(
            f"`reward_model` is what trainer `bradley_terry` trains, but the trainer is {name!r}: use that trainer, or "
            "leave `reward_model` out (an annotator of that name is set under `annotator`)."
        )
    if recipe.policy is None:
        raise RecipeError(f"`policy` must be set, for trainer {name!r} trains it: set `policy.model`.")


def arms(recipe: Recipe) -> dict[str, Recipe]:
    """Return the recipes of the comparison arms, by name."""
    content = recipe_content(recipe)
    return {
        arm: saved_recipe({**content, **differences, "name": f"{recipe.name} ({arm})", **WITHOUT_ARMS})
        for arm, differences in recipe.compare.items()
    }


def completed(saved: dict[str, Any]) -> dict[str, Any]:
    """Return a saved recipe's content with the defaults of keys added since."""
    return recipe_content(saved_recipe(saved))


def preparation_settings(recipe: Recipe) -> dict[str, Any]:
    """Return the arguments of the preparation function: `prepare.settings` with `{seed}` filled in.

    A setting equal to `"{seed}"` becomes the integer; inside a longer string, `{seed}` becomes its digits.
    """
    if recipe.prepare is None:
        return {}
    seed = recipe.seed
    filled = map_strings(recipe.prepare.settings, lambda s: seed if s == SEED else s.replace(SEED, str(seed)))
    return dict(filled)


def with_prepared(recipe: Recipe, folder: Path) -> Recipe:
    """Return the recipe with `{prepared}` replaced by the prepared folder."""
    return saved_recipe(map_strings(recipe_content(recipe), lambda text: text.replace(PREPARED, str(folder))))
