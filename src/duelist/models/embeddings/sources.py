"""Sources of fixed embeddings of prompt and response, used by reward models and linear designs."""

from __future__ import annotations

from typing import TYPE_CHECKING

from duelist.errors import DataError, ModelError
from duelist.models.embeddings.config import EmbeddingConfig
from duelist.models.embeddings.embedder import Embedder
from duelist.models.policy.loading import device_of, load_pretrained

if TYPE_CHECKING:
    from duelist.models.policy.policy import Policy


def make_embedder(config: EmbeddingConfig, policy: Policy | None = None) -> Embedder:
    """Return the source of embeddings that `config` names.

    Raises:
        ModelError: if its model or library is missing.
        DataError: if its file cannot be read.
    """
    if config.source == "sentence_transformers":
        from duelist.models.embeddings.sentence_encoder import SentenceEncoder

        return SentenceEncoder(config)
    if config.source == "hidden_states":
        return _hidden_states(config, policy)
    from duelist.models.embeddings.files import FileEmbeddings

    if config.path is None:
        raise DataError("Embeddings from a file need its `path`, but there is none: set it.")
    return FileEmbeddings(config.path, config.ids)


def _hidden_states(config: EmbeddingConfig, policy: Policy | None) -> Embedder:
    """Use `config.model`, or the policy's base model if it is None."""
    from duelist.models.embeddings.hidden_states import HiddenStates

    if config.model is None:
        if policy is None:
            raise ModelError(
                "Hidden states need a causal language model, but the recipe has no `policy` and the embedding no "
                "`model`: set `model` to a folder or a hub name, or use another source."
            )
        return HiddenStates(config, policy.model, policy.tokenizer, policy.name, policy)
    from transformers import AutoModelForCausalLM, AutoTokenizer

    model = load_pretrained(AutoModelForCausalLM, config.model, "embedding.model", config.revision, dtype=config.dtype)
    tokenizer = load_pretrained(AutoTokenizer, config.model, "embedding.model", config.revision)
    return HiddenStates(config, model.to(device_of(config.device)).eval(), tokenizer, config.model)
