"""Where a recipe's embeddings come from, and what can be found wrong with that before a study."""

from __future__ import annotations

from collections.abc import Mapping

from duelist.data.prompts import PromptSet
from duelist.errors import DataError, RecipeError
from duelist.evaluation.reward_held_out import held_out_responses
from duelist.featurizers.embedding import EmbeddingFeaturizerConfig
from duelist.models.embeddings.config import EmbeddingConfig
from duelist.models.embeddings.sources import EmbeddingCache, make_embedder
from duelist.progress import Silent
from duelist.recipe.recipe import Recipe
from duelist.settings.validation import expanded
from duelist.types import Response


def embedding_sources(recipe: Recipe) -> Mapping[str, EmbeddingConfig]:
    """The sources, by their keys in the recipe; that of a featurizer with defaults is one of the others."""
    found = {} if recipe.reward_model is None else {"reward_model.embedding": recipe.reward_model.embedding}
    own = EmbeddingFeaturizerConfig.model_validate(recipe.featurizers.get("embedding", {}))
    return found if own == EmbeddingFeaturizerConfig() else {**found, "featurizers.embedding": own}


def require_hidden_states(recipe: Recipe, key: str, config: EmbeddingConfig) -> None:
    """Require a language model where hidden states are asked for.

    Raises:
        RecipeError: if there is none.
    """
    if config.source == "hidden_states" and config.model is None and recipe.policy is None:
        raise RecipeError(
            f"Hidden states need a causal language model, but the recipe has neither `policy` nor `{key}.model`: set "
            f"one, or another `{key}.source`."
        )


def require_vectors(recipe: Recipe, key: str, config: EmbeddingConfig, prompts: PromptSet | None) -> None:
    """Require a file of embeddings, and in it a vector for each response that the data set has.

    Args:
        recipe: the recipe.
        key: what messages call the source.
        config: the source, with a path.
        prompts: the data set; None where it is out of reach.

    Raises:
        DataError: if the file is missing or not usable, or lacks a response.
        NumericalError: if a vector holds a number that is not finite.
    """
    if not expanded(str(config.path)).is_file():
        raise DataError(f"`{key}.path` must be a file, but there is none at {config.path}: correct it.")
    if config.source != "file" or prompts is None or recipe.sampler["name"] != "dataset":
        return
    by_id = {p.id: p for p in (*prompts.train, *prompts.held_out)}
    texts = [(p, text) for p in prompts.train for text in prompts.given.texts.get(p.id, [])]
    responses = [Response.of(p, text, [], [0], 0) for p, text in texts]
    if recipe.reward_model is not None:
        responses += held_out_responses(recipe.prompts, prompts.held_out).responses
    if responses:
        EmbeddingCache(make_embedder(config))(by_id, responses, Silent())
