"""Checks of a recipe before anything is drawn, asked or written."""

from __future__ import annotations

from dataclasses import dataclass, replace
from heapq import nlargest
from itertools import islice
from typing import Any

import numpy as np

from duelist.acquisition.base import choose
from duelist.acquisition.control import control_size
from duelist.acquisition.random_pool import random_features
from duelist.acquisition.stopping import require_gains
from duelist.data.prompts import PromptSet
from duelist.errors import ModelError
from duelist.evaluation.held_out import require_evaluable
from duelist.featurizers.base import require_provided
from duelist.models.embeddings.checking import require_source
from duelist.models.policy.config import PolicyConfig
from duelist.models.policy.loading import load_pretrained, read_chat_template
from duelist.models.policy.positions import context_length
from duelist.models.policy.tokenization import check_length, prompt_token_ids, require_chat_template
from duelist.preflight.lookups import model_config, prepared_recipe, prompts_in_reach, require_start, require_target
from duelist.preflight.pool import most_responses, pairs_in_rounds, require_large_pool
from duelist.preflight.precision import rounding
from duelist.progress import Progress
from duelist.recipe.recipe import Recipe
from duelist.recipe.round_plan import budgets
from duelist.settings.context import Rounding
from duelist.settings.lookups import PREPARED, Lookups
from duelist.study.components import StudyComponents, prepared, require_annotator
from duelist.tracking.trackers import require_trackers as require_study_trackers
from duelist.trainers.base import Trainer
from duelist.trainers.initial_preferences import labelled_preferences
from duelist.trainers.sft import demonstrations
from duelist.trainers.trl_settings import require_accepted, require_installed_trackers
from duelist.types import Prompt

LONGEST = 256  # prompts, the longest in characters, whose tokens are counted here; sampling checks all


@dataclass(frozen=True)
class Findings:
    """Result of examining a recipe. A field is None if its source is not available.

    Attributes:
        recipe: recipe with `{prepared}` filled in, if it has been prepared.
        prompts: prompts.
        model: configuration of the base model.
        pairs: maximum number of candidate questions in one round's pool.
        responses: maximum number of responses in one round's pool.
        sets_of: the largest number of responses in a question.
        notes: what could not be determined, and why.
    """

    recipe: Recipe
    prompts: PromptSet | None
    model: Any
    pairs: int | None
    responses: int | None
    sets_of: int
    notes: tuple[str, ...]


def examine(recipe: Recipe, *, offline_ok: bool = False, libraries: bool = True) -> Findings:
    """Check everything that `recipe` names. Load no model weights, draw nothing and write nothing.

    Args:
        recipe: the recipe.
        offline_ok: if True, a name on the Hugging Face Hub that cannot be loaded gives a note, not an error. A study
            cannot run without it.
        libraries: if False, nothing that needs torch, transformers or TRL is checked, and a note lists it.

    Raises:
        DuelistError: if something is not usable.
    """
    require_study_trackers(recipe.report_to)
    lookups = Lookups(offline_ok, libraries)
    ready = prepared_recipe(recipe, lookups)
    components, policy, reward_model = StudyComponents(ready), ready.policy, ready.reward_model
    _require_told_gains(ready, components, lookups.notes)
    require_provided(components.needs, components.featurizers)
    _note_large_slice(ready, components, lookups.notes)
    if policy is not None:
        require_start(policy, lookups)
    prompts, model = prompts_in_reach(ready, lookups), model_config(policy, lookups)
    context = components.context(lookups, prompts, _rounding(policy, model, lookups))
    components.check(context)
    if ready.initial is not None and ready.initial.sft is not None:
        require_accepted([ready.initial.sft.trl_settings], replace(context, rounding=None))
    if reward_model is not None:
        require_source("reward_model.embedding", reward_model.embedding, context)
    if "target_MD" in components.needs:
        require_target(ready, prompts, lookups)
    in_rounds = pairs_in_rounds(ready, prompts)
    if prompts is not None:
        if reward_model is None:
            require_evaluable(prompts.held_out, ready.evaluation)
        if in_rounds is not None:
            require_large_pool(ready, prompts, in_rounds)
        if ready.known is not None and policy is None and PREPARED not in ready.known.path:
            from duelist.study.known import plain_encode, read_known

            read_known(ready.known, prompts, plain_encode)
        if model is not None and policy is not None:
            _require_fitting_prompts(ready, policy, prompts, model)
    pairs = None if in_rounds is None else max(in_rounds)
    if lookups.unchecked:
        lookups.notes.append(f"Not checked, because it needs torch: {', '.join(lookups.unchecked)}.")
    responses = most_responses(ready, prompts)
    return Findings(ready, prompts, model, pairs, responses, components.pairing.sets_of, tuple(lookups.notes))


def examine_new(recipe: Recipe, progress: Progress) -> Findings:
    """Examine a recipe that is about to run. Run its preparation first, because the full check needs its output.

    Raises:
        RecipeError: if it names no annotator.
        DuelistError: if something is not usable, or the preparation fails.
    """
    require_annotator(recipe)
    found = examine(recipe)
    if recipe.prepare is None:
        return found
    prepared(recipe, progress)
    return examine(recipe)


def require_trackers(recipe: Recipe) -> None:
    """Check that the trackers a resumed study reports to are installed.

    Raises:
        RecipeError: if one is not installed; it is named.
    """
    require_study_trackers(recipe.report_to)
    trainer: Trainer[Any, Any] = recipe.trainer.build()
    for handed_on in trainer.trl_settings:
        require_installed_trackers(handed_on.train.get("report_to"), handed_on.key)


def _note_large_slice(recipe: Recipe, components: StudyComponents, notes: list[str]) -> None:
    """Note a control slice of more than twice its fraction, because it is at least one question of each batch."""
    smallest, fraction = min(budgets(recipe)), recipe.control_fraction
    size = control_size(fraction, smallest)
    if size > 2 * fraction * smallest and not components.acquisition.uniform:
        notes.append(
            f"`control_fraction: {fraction:g}` of a batch of {smallest} is rounded to {size} of its questions, "
            f"{size / smallest:.0%}: raise `budget`, with fewer `rounds`, for a smaller share."
        )


def _rounding(policy: PolicyConfig | None, model: Any, lookups: Lookups) -> Rounding | None:
    if policy is None or policy.adapter != "none" or not lookups.may_import("the rounding of the weights"):
        return None
    return rounding(policy, model)


def _require_told_gains(recipe: Recipe, components: StudyComponents, notes: list[str]) -> None:
    """Check that the acquisition reports the gain that the stopping rule needs, by a selection from a synthetic pool.

    A custom rule may need a special kind of pool. If it fails on this one, a note reports it.

    Raises:
        RecipeError: if the gain is not reported; both rules are named.
    """
    if recipe.stop is None:
        return
    name = recipe.acquisition.name
    try:
        pool = random_features(12, components.needs)
        chosen = choose(components.acquisition, pool, 2, np.random.default_rng(0))
    except Exception as error:  # user code may raise any type
        if recipe.acquisition.is_shipped:
            raise
        cause = error.__cause__ or error
        reason = (str(cause).strip() or type(cause).__name__).splitlines()[0]
        notes.append(
            f"Whether the acquisition {name} tells the gain that `stop` needs could not be checked, for it does not "
            f"choose from a made-up pool: {reason}"
        )
        return
    require_gains(recipe.stop, chosen.diagnostics, name)


def _require_fitting_prompts(recipe: Recipe, policy: PolicyConfig, prompts: PromptSet, config: Any) -> None:
    """Check that the policy's tokenizer can render the prompts and that they fit in its context.

    Raises:
        ModelError: if the tokenizer lacks something.
        DataError: if a prompt is too long, or `initial` or `known.path` cannot be trained on.
    """
    from transformers import AutoTokenizer

    tokenizer = load_pretrained(AutoTokenizer, policy.model, "policy.model", policy.revision)
    if policy.chat_template is not None:
        tokenizer.chat_template = read_chat_template(policy.chat_template)
    if tokenizer.eos_token_id is None:
        raise ModelError(f"The tokenizer of {policy.model} must have an end-of-sequence token, but has none: set one.")
    context = context_length(config)
    if recipe.known is not None and PREPARED not in recipe.known.path:
        from duelist.study.known import encoder, read_known

        read_known(recipe.known, prompts, encoder(tokenizer, context, policy.model))
    initial = recipe.initial
    if initial is not None and PREPARED not in (initial.labelled or ""):
        labelled_preferences(initial, tokenizer, context, policy.model)
    source = None if initial is None or initial.sft is None else initial.demonstrations(recipe.known)
    if source is not None and PREPARED not in source.path:
        demonstrations(islice(source, LONGEST), tokenizer, context, policy.model)  # the stage checks all
    drawn = int(recipe.sampler.setting("max_new_tokens") or 0)
    for some, room in ((prompts.train, drawn), (prompts.held_out, recipe.evaluation.max_new_tokens)):
        require_chat_template(tokenizer, some, policy.model)
        for prompt in nlargest(LONGEST, some, key=_characters):
            length = len(prompt_token_ids(tokenizer, prompt)) + room
            check_length(prompt, length, context, f"max_new_tokens={room}")


def _characters(prompt: Prompt) -> int:
    return sum(len(str(m["content"])) for m in prompt.messages)
