"""Checks of a source of embeddings before a study."""

from __future__ import annotations

from functools import partial

from duelist.errors import DataError, RecipeError
from duelist.models.embeddings.cache import EmbeddingCache
from duelist.models.embeddings.config import EmbeddingConfig
from duelist.models.embeddings.sentence_encoder import require_sentence_encoder
from duelist.models.embeddings.sources import make_embedder
from duelist.models.policy.loading import load_pretrained
from duelist.progress import Silent
from duelist.settings.context import Context
from duelist.settings.lookups import PREPARED
from duelist.settings.validation import expanded


def require_source(key: str, config: EmbeddingConfig, context: Context) -> None:
    """Require a source of embeddings that exists, with vectors of the data set's own responses if it is a file.

    Args:
        key: name of the source in messages.
        config: the source.
        context: the recipe.

    Raises:
        RecipeError: if hidden states are requested, but there is no language model.
        DuelistError: if the source is available but cannot be used.
    """
    if config.source == "hidden_states" and config.model is None and context.adapter is None:
        raise RecipeError(
            f"Hidden states need a causal language model, but the recipe has neither `policy` nor `{key}.model`: set "
            f"one, or another `{key}.source`."
        )
    if config.path is not None and PREPARED not in config.path:
        _require_vectors(key, config, context)
    name = config.model
    if name is None or not context.lookups.may_import(f"`{key}.model`"):
        return
    if config.source == "sentence_transformers":
        read = partial(require_sentence_encoder, config, f"{key}.model")
    else:
        from transformers import AutoConfig

        read = partial(load_pretrained, AutoConfig, name, f"{key}.model", config.revision)
    context.lookups.read(name, read, "The embedding model's configuration is")


def _require_vectors(key: str, config: EmbeddingConfig, context: Context) -> None:
    if not expanded(str(config.path)).is_file():
        raise DataError(f"`{key}.path` must be a file, but there is none at {config.path}: correct it.")
    responses = context.given() if config.source == "file" else ()
    if responses:
        by_id = {p.id: p for p in (*context.train, *context.held_out)}
        EmbeddingCache(make_embedder(config))(by_id, responses, Silent())
