"""What can be found wrong with a recipe before anything is drawn, asked or written."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np

from duelist.acquisition.base import Acquisition, choose
from duelist.acquisition.stopping import require_gains
from duelist.annotators.base import Annotator
from duelist.data.prompts import PromptSet
from duelist.errors import ModelError
from duelist.evaluation.held_out import require_columns
from duelist.featurizers.base import Featurizer, require_provided
from duelist.featurizers.reward_head import require_posterior
from duelist.models.policy.config import PolicyConfig
from duelist.models.policy.loading import device_of, load_pretrained, read_chat_template
from duelist.models.policy.positions import context_length
from duelist.models.policy.tokenization import check_length, prompt_token_ids, require_chat_template
from duelist.models.rewards.functions import Reward
from duelist.pairing.base import Pairing
from duelist.preflight.combinations import require_different_responses, require_parts_that_fit
from duelist.preflight.embedding_sources import embedding_sources
from duelist.preflight.lookups import PREPARED, Lookups, require_start
from duelist.preflight.pool import pairs_in_rounds, require_large_pool
from duelist.preflight.precision import require_moving_weights
from duelist.progress import Progress
from duelist.recipe.component_settings import acquisition_options, build
from duelist.recipe.components import COMPONENTS
from duelist.recipe.recipe import Recipe
from duelist.samplers.base import Sampler
from duelist.study.components import prepared, require_annotator
from duelist.study.learners.online import require_online_trainer
from duelist.testing import random_features
from duelist.trainers.base import Planned
from duelist.trainers.initial_preferences import labelled_preferences
from duelist.trainers.trl_settings import TrainsWithTrl, require_installed_trackers
from duelist.types import Prompt

LONGEST = 256  # this many of the prompts with most characters are measured in tokens; sampling measures them all


@dataclass(frozen=True)
class Findings:
    """What a recipe names, as far as it is within reach: None is what is not.

    Attributes:
        recipe: with `{prepared}` filled in, if it has been prepared.
        prompts: the prompts.
        model: the base model's configuration.
        pairs: candidate pairs in one round's pool, at most.
        notes: what could not be found out, and why.
    """

    recipe: Recipe
    prompts: PromptSet | None
    model: Any
    pairs: int | None
    notes: tuple[str, ...]


def examine(recipe: Recipe, *, offline_ok: bool = False) -> Findings:
    """Look at everything that `recipe` names, but load no model's weights, draw nothing and write nothing.

    Args:
        recipe: the recipe.
        offline_ok: a name on the hub that cannot be loaded is a note, not an error. A study could not run so.

    Raises:
        DuelistError: if something is not usable.
    """
    reach = Lookups(offline_ok)
    ready = reach.prepared(recipe)
    build("sampler", ready.sampler, Sampler)
    build("pairing", ready.pairing, Pairing)
    trainer = build("trainer", ready.trainer, Planned)
    needs = acquisition_options(ready.acquisition).needs(build("acquisition", ready.acquisition, Acquisition))
    require_different_responses(ready, needs)
    _require_told_gains(ready, reach.notes)
    featurizers = [build("featurizer", {"name": name, **c}, Featurizer) for name, c in ready.featurizers.items()]
    require_provided(needs, featurizers)
    if ready.reward_model is not None and "reward_N2K" in needs:
        require_posterior(ready.reward_model)
    if ready.online:
        require_online_trainer(trainer, ready)
    trl_configs: dict[str, Any] = {}
    if ready.policy is not None:
        if isinstance(trainer, TrainsWithTrl):
            on_cpu = device_of(ready.policy.device).type == "cpu"
            trl_configs = {handed_on.key: handed_on.filled(on_cpu=on_cpu) for handed_on in trainer.trl_settings}
        require_parts_that_fit(ready, ready.policy)
        require_start(ready.policy, reach.notes)
    prompts = reach.prompts(ready)
    for kind, component, interface in (("annotator", ready.annotator, Annotator), ("reward", ready.reward, Reward)):
        if component is not None:
            reach.require_judge(kind, component, interface, prompts)
    for key, config in embedding_sources(ready).items():
        reach.require_embedding(ready, key, config, prompts)
    if "target_MD" in needs:
        reach.require_target(ready, prompts)
    model = None if ready.policy is None else reach.model_config(ready.policy)
    if ready.policy is not None:
        require_moving_weights(ready.policy, model, trl_configs)
    in_rounds = pairs_in_rounds(ready, prompts)
    if prompts is not None:
        if ready.reward_model is None:
            require_columns(prompts.held_out, ready.evaluation)
        if in_rounds is not None:
            require_large_pool(ready, prompts, in_rounds)
        if model is not None and ready.policy is not None:
            _require_fitting_prompts(ready, ready.policy, prompts, model)
    pairs = None if in_rounds is None else max(in_rounds)
    return Findings(ready, prompts, model, pairs, tuple(reach.notes))


def examine_new(recipe: Recipe, progress: Progress) -> Findings:
    """`examine` a recipe that is about to run; what it prepares is made first, for only then all of it can be seen.

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
    """Refuse a tracker that a running study is to report to from now on, and that is not installed.

    Raises:
        RecipeError: naming it.
    """
    trainer = build("trainer", recipe.trainer, Planned)
    for handed_on in trainer.trl_settings if isinstance(trainer, TrainsWithTrl) else ():
        require_installed_trackers(handed_on.train.get("report_to"), handed_on.key)


def _require_told_gains(recipe: Recipe, notes: list[str]) -> None:
    """Refuse a stopping rule whose gain the acquisition does not tell, by letting it choose from a made-up pool.

    A rule of the user's may need a pool of its own kind: where it fails on this one, a note says so.

    Raises:
        RecipeError: naming both.
    """
    if recipe.stop is None:
        return
    rule, name = build("acquisition", recipe.acquisition, Acquisition), str(recipe.acquisition["name"])
    pool = random_features(12, acquisition_options(recipe.acquisition).needs(rule))
    first_choice = partial(choose, rule, pool, 2, np.random.default_rng(0))
    if name in COMPONENTS["acquisition"]:
        require_gains(recipe.stop, first_choice().diagnostics, name)
        return
    try:
        chosen = first_choice()
    except Exception as error:  # of the user's own code, so of any type
        cause = error.__cause__ or error
        reason = (str(cause).strip() or type(cause).__name__).splitlines()[0]
        notes.append(
            f"Whether the acquisition {name} tells the gain that `stop` needs could not be checked, for it does not "
            f"choose from a made-up pool: {reason}"
        )
        return
    require_gains(recipe.stop, chosen.diagnostics, name)


def _require_fitting_prompts(recipe: Recipe, policy: PolicyConfig, prompts: PromptSet, config: Any) -> None:
    """Refuse prompts that the policy's tokenizer cannot render, or its context cannot hold.

    Raises:
        ModelError: if the tokenizer lacks something.
        DataError: if a prompt is too long, or `initial.labelled` cannot be trained on.
    """
    from transformers import AutoTokenizer

    tokenizer = load_pretrained(AutoTokenizer, policy.model, "policy.model", policy.revision)
    if policy.chat_template is not None:
        tokenizer.chat_template = read_chat_template(policy.chat_template)
    if tokenizer.eos_token_id is None:
        raise ModelError(f"The tokenizer of {policy.model} must have an end-of-sequence token, but has none: set one.")
    context = context_length(config)
    if recipe.initial is not None and PREPARED not in recipe.initial.labelled:
        labelled_preferences(recipe.initial, tokenizer, context, policy.model)
    drawn = int(recipe.sampler.get("max_new_tokens", 0))
    for some, room in ((prompts.train, drawn), (prompts.held_out, recipe.evaluation.max_new_tokens)):
        require_chat_template(tokenizer, some, policy.model)
        for prompt in sorted(some, key=_characters, reverse=True)[:LONGEST]:
            length = len(prompt_token_ids(tokenizer, prompt)) + room
            check_length(prompt, length, context, f"max_new_tokens={room}")


def _characters(prompt: Prompt) -> int:
    return sum(len(str(m["content"])) for m in prompt.messages)
