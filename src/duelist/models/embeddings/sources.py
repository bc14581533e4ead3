"""Sources of fixed embeddings of prompt and response, used by reward models and linear designs."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

from duelist.engines.base import Engine, Source
from duelist.engines.local import Local
from duelist.errors import DataError, ModelError
from duelist.models.embeddings.config import EmbeddingConfig
from duelist.models.embeddings.embedder import Embedder
from duelist.models.policy.loading import device_of, load_pretrained

if TYPE_CHECKING:
    from duelist.models.policy.policy import Policy


def make_embedder(
    config: EmbeddingConfig,
    policy: Policy | None = None,
    engine: Engine | None = None,
    kept: Source[Policy] | None = None,
) -> Embedder:
    """Return the source of embeddings that `config` names.

    Args:
        config: the settings.
        policy: the policy, whose base model is used if the settings name no model.
        engine: computes with the model, batch by batch; None: this process.
        kept: how the engine's workers get the policy; None if it is in memory only.

    Raises:
        ModelError: if its model or library is missing.
        DataError: if its file cannot be read.
    """
    if config.source == "sentence_transformers":
        from duelist.models.embeddings.sentence_encoder import SentenceEncoder

        return SentenceEncoder(config, engine)
    if config.source == "hidden_states":
        return _hidden_states(config, policy, engine or Local(), kept)
    from duelist.models.embeddings.files import FileEmbeddings

    if config.path is None:
        raise DataError("Embeddings from a file need its `path`, but there is none: set it.")
    return FileEmbeddings(config.path, config.ids)


def _hidden_states(
    config: EmbeddingConfig, policy: Policy | None, engine: Engine, kept: Source[Policy] | None
) -> Embedder:
    """Use `config.model`, or the policy's base model if it is None."""
    from duelist.engines.base import InMemory
    from duelist.models.embeddings.hidden_states import HiddenStates
    from duelist.models.policy.fixed_model import FixedModel
    from duelist.models.policy.kept import KeptPolicy

    if config.model is None:
        if policy is None:
            raise ModelError(
                "Hidden states need a causal language model, but the recipe has no `policy` and the embedding no "
                "`model`: set `model` to a folder or a hub name, or use another source."
            )
        base = kept.of_base() if isinstance(kept, KeptPolicy) else InMemory(policy)
        compute = partial(engine.map, base)
        return HiddenStates(config, policy.model, policy.tokenizer, policy.name, policy, compute)
    from transformers import AutoTokenizer

    source = FixedModel(read_language_model, config, config.model)
    tokenizer = load_pretrained(AutoTokenizer, config.model, "embedding.model", config.revision)
    return HiddenStates(config, source.here, tokenizer, config.model, compute=partial(engine.map, source))


def read_language_model(config: EmbeddingConfig) -> Any:
    """Load the model of hidden states, in evaluation mode.

    Raises:
        ModelError: if it cannot be loaded.
    """
    from transformers import AutoModelForCausalLM

    name, revision = str(config.model), config.revision
    model = load_pretrained(AutoModelForCausalLM, name, "embedding.model", revision, dtype=config.dtype)
    return model.to(device_of(config.device)).eval()
