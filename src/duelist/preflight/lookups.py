"""Look-ups that may be unavailable: not prepared yet, or on the Hugging Face Hub while offline."""

from __future__ import annotations

from functools import partial
from typing import Any

from duelist.data.prompts import PromptSet, load_prompts
from duelist.data.sources import SUFFIXES
from duelist.errors import ModelError
from duelist.models.policy.config import PolicyConfig
from duelist.models.policy.loading import load_pretrained, require_local_folder
from duelist.recipe.preparation import prepared_folder
from duelist.recipe.reading import preparation_settings, with_prepared
from duelist.recipe.recipe import Recipe, uses_given_responses
from duelist.settings.lookups import PREPARED, Lookups, is_local
from duelist.settings.validation import expanded
from duelist.study.targets import Targets


def prepared_recipe(recipe: Recipe, lookups: Lookups) -> Recipe:
    """Return the recipe with `{prepared}` filled in, if it has been prepared."""
    if recipe.prepare is None:
        return recipe
    folder = prepared_folder(recipe.prepare.function, preparation_settings(recipe))
    if folder.is_dir():
        return with_prepared(recipe, folder)
    if lookups.offline_ok:  # otherwise, the study is about to run and prepares it
        lookups.notes.append(
            f"{recipe.prepare.function} would first make models and data in {folder}; sizes are known after that."
        )
    return recipe


def prompts_in_reach(recipe: Recipe, lookups: Lookups) -> PromptSet | None:
    """Return the recipe's prompts; None if they are not available.

    Raises:
        DuelistError: if they are available but not usable.
    """
    config = recipe.prompts
    if PREPARED in str(config.held_out_path):
        return None
    read = partial(load_prompts, config, recipe.seed, responses=uses_given_responses(recipe))
    return lookups.read(config.path, read, "The prompts are", SUFFIXES)


def model_config(policy: PolicyConfig | None, lookups: Lookups) -> Any:
    """Return the base model's configuration; None if it is not available.

    Raises:
        ModelError: if it is available but cannot be loaded.
    """
    if policy is None or PREPARED in policy.model:
        return None
    require_local_folder(policy.model, "policy.model")
    if not lookups.may_import("`policy.model`, and whether the prompts fit its context"):
        return None
    from transformers import AutoConfig

    read = partial(load_pretrained, AutoConfig, policy.model, "policy.model", policy.revision)
    return lookups.read(policy.model, read, "The model's configuration is")


def require_target(recipe: Recipe, prompts: PromptSet | None, lookups: Lookups) -> None:
    """Check that the target prompts can be read.

    Raises:
        DuelistError: if they are available but not usable.
    """
    config = recipe.target
    if prompts is not None:
        read = partial(Targets.load, config, prompts, recipe.seed, responses=uses_given_responses(recipe))
        lookups.read(config.path, read, "The target's prompts are", SUFFIXES)


def require_start(policy: PolicyConfig, lookups: Lookups) -> None:
    """Check that the policy's initial weights exist; add a note if the name may be on the Hub.

    Raises:
        ModelError: if a local folder does not exist; the key is named.
    """
    for key in ("initial_adapter", "initial_model"):
        value = getattr(policy, key)
        if value is None or PREPARED in value or expanded(value).is_dir():
            continue
        if is_local(value):
            raise ModelError(f"policy.{key} must be a folder that exists, but there is no {value}: correct the path.")
        lookups.notes.append(
            f"policy.{key} is {value}, and no folder of that name is here yet: the study will need it."
        )
