"""What can be found wrong with a recipe before anything is drawn, asked or written."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from duelist.acquisition.base import Acquisition, choose
from duelist.annotators.base import Annotator
from duelist.errors import BudgetError, DuelistError, ModelError
from duelist.evaluation.held_out import require_columns
from duelist.featurizers.base import Featurizer, require_provided
from duelist.featurizers.reward_head import require_posterior
from duelist.learners.embedding_sources import embedding_sources, require_hidden_states, require_vectors
from duelist.learners.online import require_online_trainer
from duelist.models.embedding_config import EmbeddingConfig
from duelist.models.loading import device_of, load_pretrained, read_chat_template
from duelist.models.policy_config import PolicyConfig
from duelist.models.rewards import Reward, require_one_output
from duelist.models.sentence_encoder import require_sentence_encoder
from duelist.models.tokenization import check_length, prompt_token_ids, require_chat_template
from duelist.pairing.base import Pairing
from duelist.preflight.combinations import require_parts_that_fit
from duelist.prompts.dataset import PromptSet, load_prompts
from duelist.prompts.labelled import labelled_preferences
from duelist.recipes.component_settings import acquisition_options, build
from duelist.recipes.components import COMPONENTS
from duelist.recipes.preparation import prepared_folder
from duelist.recipes.recipe import Recipe, preparation_settings, uses_given_responses, with_prepared
from duelist.recipes.rounds import budgets, in_words, total_budget
from duelist.rows import SUFFIXES
from duelist.samplers.base import Sampler
from duelist.stopping import require_gains
from duelist.targets import Targets
from duelist.testing import random_features
from duelist.trainers.base import Planned, Trainer
from duelist.trainers.trl_settings import TrainsWithTrl
from duelist.types import Prompt

PREPARED = "{prepared}"
LONGEST = 256  # this many of the prompts with most characters are measured in tokens; sampling measures them all
HEAVY = ("reward_model", "model")  # components that load a model when they are made
Found = TypeVar("Found")


@dataclass(frozen=True)
class Findings:
    """What a recipe names, as far as it is within reach: None is what is not.

    Attributes:
        recipe: with `{prepared}` filled in, if it has been prepared.
        prompts: the prompts.
        model: the base model's configuration.
        pairs: candidate pairs in one round's pool, at most.
    """

    recipe: Recipe
    prompts: PromptSet | None
    model: Any
    pairs: int | None


def examine(recipe: Recipe, notes: list[str] | None = None) -> Findings:
    """Look at everything that `recipe` names, but load no model's weights, draw nothing and write nothing.

    Args:
        recipe: the recipe.
        notes: takes a line on each thing that is out of reach (not prepared yet, or on the hub without a network).
            Without it, a name on the hub that cannot be loaded is an error, for a study could not run.

    Raises:
        DuelistError: if something is not usable.
    """
    ready = _with_what_is_prepared(recipe, notes)
    build("sampler", ready.sampler, Sampler)
    build("pairing", ready.pairing, Pairing)
    trainer = build("trainer", ready.trainer, Planned)
    needs = acquisition_options(ready.acquisition).needs(build("acquisition", ready.acquisition, Acquisition))
    _require_told_gains(ready)
    featurizers = [build("featurizer", {"name": name, **c}, Featurizer) for name, c in ready.featurizers.items()]
    require_provided(needs, featurizers)
    if ready.reward_model is not None and "reward_N2K" in needs:
        require_posterior(ready.reward_model)
    for kind, component, interface in (("annotator", ready.annotator, Annotator), ("reward", ready.reward, Reward)):
        if component is not None and PREPARED not in str(component):
            _examine_judge(kind, component, interface, notes)
    if ready.online:
        require_online_trainer(build("trainer", ready.trainer, Trainer), ready)
    if ready.policy is not None:
        if isinstance(trainer, TrainsWithTrl):
            for handed_on in trainer.trl_settings:
                handed_on.require_usable(on_cpu=device_of(ready.policy.device).type == "cpu")
        require_parts_that_fit(ready, ready.policy)
        _require_start(ready.policy)
    prompts = _prompts(ready, notes)
    for key, config in embedding_sources(ready).items():
        _examine_embedding(ready, key, config, prompts, notes)
    if "target_MD" in needs:
        _examine_target(ready, prompts, notes)
    model = None if ready.policy is None else _model_config(ready.policy, notes)
    pairs = None
    if prompts is not None:
        if ready.reward_model is None:
            require_columns(prompts.held_out, ready.evaluation)
        pairs = _require_large_pool(ready, prompts)
        if model is not None and ready.policy is not None:
            _require_fitting_prompts(ready, ready.policy, prompts, model)
    return Findings(ready, prompts, model, pairs)


def _require_told_gains(recipe: Recipe) -> None:
    """Refuse a stopping rule whose gain the acquisition does not tell, by letting it choose from a made-up pool.

    Raises:
        RecipeError: naming both.
    """
    if recipe.stop is None:
        return
    rule = build("acquisition", recipe.acquisition, Acquisition)
    try:
        needs = acquisition_options(recipe.acquisition).needs(rule)
        chosen = choose(rule, random_features(12, needs), 2, np.random.default_rng(0))
    except Exception:  # a rule of the user's may need a pool of its own kind: its first choice will tell
        return
    require_gains(recipe.stop, chosen.diagnostics, str(recipe.acquisition["name"]))


def _require_start(policy: PolicyConfig) -> None:
    """Refuse a start for the policy that is not there.

    Raises:
        ModelError: naming the key.
    """
    for key in ("initial_adapter", "initial_model"):
        value = getattr(policy, key)
        if value is not None and PREPARED not in value and is_local(value) and not Path(value).expanduser().is_dir():
            raise ModelError(f"policy.{key} must be a folder that exists, but there is no {value}: correct the path.")


def _examine_embedding(
    recipe: Recipe, key: str, config: EmbeddingConfig, prompts: PromptSet | None, notes: list[str] | None
) -> None:
    """Refuse a source of embeddings that is not there, or a file without vectors of the data set's own responses."""
    require_hidden_states(recipe, key, config)
    if config.path is not None and PREPARED not in config.path:
        require_vectors(recipe, key, config, prompts)
    name = config.model
    if name is None or PREPARED in name:
        return
    if config.source == "sentence_transformers":
        read = partial(require_sentence_encoder, config, f"{key}.model")
    else:
        from transformers import AutoConfig

        read = partial(load_pretrained, AutoConfig, name, f"{key}.model", config.revision)
    _within_reach(read, is_local(name), notes, "The embedding model's configuration is")


def is_local(name: str, endings: tuple[str, ...] = ()) -> bool:
    """Whether a path or hub name can only be a path, or is one that exists."""
    return name.startswith(("/", ".", "~")) or name.endswith(endings or ("/",)) or Path(name).exists()


def _with_what_is_prepared(recipe: Recipe, notes: list[str] | None) -> Recipe:
    if recipe.prepare is None:
        return recipe
    folder = prepared_folder(recipe.prepare.function, preparation_settings(recipe))
    if folder.is_dir():
        return with_prepared(recipe, folder)
    if notes is not None:
        notes.append(
            f"{recipe.prepare.function} would first make models and data in {folder}; sizes are known after that."
        )
    return recipe


def _within_reach(read: Callable[[], Found], local: bool, notes: list[str] | None, what: str) -> Found | None:
    try:
        return read()
    except DuelistError as error:
        if local or notes is None:
            raise
        notes.append(f"{what} out of reach here: {str(error).splitlines()[0]}")
        return None


def _examine_judge(
    kind: str, component: dict[str, Any], interface: type[Annotator] | type[Reward], notes: list[str] | None
) -> None:
    if component["name"] not in HEAVY:
        build(kind, component, interface)
        return
    from transformers import AutoConfig

    model = str(component["model"])

    def read() -> None:
        config = load_pretrained(AutoConfig, model, f"{kind}.model", component.get("revision"))
        require_one_output(config.num_labels, model)

    _within_reach(read, is_local(model), notes, "The reward model's configuration is")


def _prompts(recipe: Recipe, notes: list[str] | None) -> PromptSet | None:
    config = recipe.prompts
    if PREPARED in f"{config.path}{config.held_out_path}":
        return None
    local = is_local(config.path, SUFFIXES)
    return _within_reach(
        lambda: load_prompts(config, recipe.seed, responses=uses_given_responses(recipe)),
        local,
        notes,
        "The prompts are",
    )


def _examine_target(recipe: Recipe, prompts: PromptSet | None, notes: list[str] | None) -> None:
    config = recipe.target
    if prompts is not None and PREPARED not in str(config.path):
        local = config.path is None or is_local(config.path, SUFFIXES)
        read = partial(Targets.load, config, prompts, recipe.seed, responses=uses_given_responses(recipe))
        _within_reach(read, local, notes, "The target's prompts are")


def _model_config(policy: PolicyConfig, notes: list[str] | None) -> Any:
    from transformers import AutoConfig

    if PREPARED in policy.model:
        return None
    return _within_reach(
        lambda: load_pretrained(AutoConfig, policy.model, "policy.model", policy.revision),
        is_local(policy.model),
        notes,
        "The model's configuration is",
    )


def _require_large_pool(recipe: Recipe, prompts: PromptSet) -> int | None:
    """The pairs in one round's pool, at most; None where the components' own code alone knows.

    Raises:
        BudgetError: if the budget exceeds what the pool can have.
    """
    sampler, pairing = recipe.sampler["name"], recipe.pairing["name"]
    counts = build("sampler", recipe.sampler, Sampler).counts
    if (
        pairing not in COMPONENTS["pairing"]
        or pairing == "cross_prompt"
        or (counts is None and (sampler != "dataset" or pairing == "as_drawn"))
    ):
        return None
    if counts is not None and pairing != "as_given":
        m = counts.responses
        per_prompt = [counts.sets if pairing == "as_drawn" else m * (m - 1) // 2] * len(prompts.train)
    elif pairing == "as_given":
        given = (prompts.given.pairs.get(p.id, []) for p in prompts.train)
        per_prompt = [len({tuple(sorted(pair)) for pair in pairs}) for pairs in given]
    else:
        texts = (len(prompts.given.texts.get(p.id, [])) for p in prompts.train)
        per_prompt = [k * (k - 1) // 2 for k in texts]
    in_round = sum(sorted(per_prompt, reverse=True)[: recipe.prompts.per_round])
    # A data set's responses are the same every round, like a fixed pool's: what was asked is not asked again.
    same = recipe.pool == "fixed" or counts is None
    largest = max(budgets(recipe))
    needed = total_budget(recipe) if same else largest
    pool = sum(per_prompt) if recipe.pool != "fixed" and counts is None else in_round
    if needed > pool or largest > in_round:
        raise BudgetError(
            f"`budget <= candidate pairs` must hold, but budget={recipe.budget} for {recipe.rounds if same else 1} "
            f"round(s) {'' if recipe.schedule == 'constant' else f'(those of {in_words(recipe)}) '}needs {needed} "
            f"pairs, and the pool has {min(pool, in_round)} at most: lower the budget or the "
            "rounds, or use more prompts or more responses per prompt."
        )
    return in_round


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
    context = getattr(config.get_text_config(), "max_position_embeddings", None)
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
