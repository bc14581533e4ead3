"""Embeddings from the sentence-transformers library."""

from __future__ import annotations

import math
from collections.abc import Sequence
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np

from duelist.engines.base import Engine
from duelist.engines.local import Local
from duelist.errors import ModelError
from duelist.models.embeddings.config import EmbeddingConfig
from duelist.models.embeddings.embedder import Embedder, Vectors
from duelist.models.policy.loading import device_of, load_pretrained
from duelist.progress import Progress
from duelist.types import Prompt, Response

LIBRARY = "sentence_transformers"
MODULES = "modules.json"  # file that lists the modules of the library's models
ORGANIZATION = "sentence-transformers"  # on the Hub, for names without a slash


class SentenceEncoder(Embedder):
    """Sentence-transformers model applied to the prompt's last message and the response as one text."""

    def __init__(self, config: EmbeddingConfig, engine: Engine | None = None) -> None:
        """Load the model.

        Args:
            config: the settings.
            engine: computes with the model, batch by batch; None: this process.

        Raises:
            ModelError: if the library is not installed, or the model cannot be loaded.
        """
        from duelist.models.policy.fixed_model import FixedModel

        self.config = config
        self._engine = engine or Local()
        self._source = FixedModel(read_encoder, config, str(config.model))
        self._model = self._source.here

    def embed(self, prompts: Sequence[Prompt], responses: Sequence[Response], progress: Progress) -> Vectors:
        texts = [embedded_text(p, r.text) for p, r in zip(prompts, responses, strict=True)]
        size = self.config.batch_size
        batches = [texts[start : start + size] for start in range(0, len(texts), size)]
        parts: list[Vectors] = []
        cut = 0
        with progress.stage("Embedding", len(texts)) as advance:
            for vectors_BH, cut_of_batch in self._engine.map(self._source, encode, batches, progress):
                parts.append(vectors_BH)
                cut += cut_of_batch
                advance(len(vectors_BH))
        if cut:
            progress.note(
                f"{cut} of {len(texts)} texts (prompt, then response) fill the {self._model.max_seq_length} tokens "
                f"that {self.config.model} reads: what goes beyond is not in the embedding."
            )
        return np.concatenate(parts).astype(np.float32)


def encode(model: Any, batch: Sequence[str]) -> tuple[Vectors, int]:
    """Task: the vectors of the texts of one batch, and how many of them reach the model's limit of tokens."""
    return model.encode(batch, convert_to_numpy=True, show_progress_bar=False), _cut(model, batch)


def read_encoder(config: EmbeddingConfig) -> Any:
    """Load a sentence-transformers model.

    Raises:
        ModelError: if the library is not installed, or the model cannot be loaded.
    """
    _require_library()
    device, weights = str(device_of(config.device)), {"dtype": config.dtype}
    try:
        encoder = import_module(LIBRARY).SentenceTransformer
        return encoder(str(config.model), device=device, revision=config.revision, model_kwargs=weights)
    except Exception as error:  # the Hub, transformers and the library each raise their own errors
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise ModelError(
            f"`model` must be a sentence-transformers model, but {config.model!r} could not be loaded: {reason} "
            "Correct the path or name."
        ) from error


def _cut(model: Any, texts: Sequence[str]) -> int:
    """Return how many texts reach the model's limit of tokens; 0 if it has no limit."""
    limit = model.max_seq_length
    if limit is None or math.isinf(limit):
        return 0
    real = model.preprocess(list(texts)).get("attention_mask")
    return 0 if real is None else int((real.sum(dim=1) >= limit).sum())


def embedded_text(prompt: Prompt, response: str) -> str:
    """Return a sentence encoder's input: the prompt's last message and the response, separated by a blank line."""
    return f"{prompt.messages[-1]['content']}\n\n{response}"


def require_sentence_encoder(config: EmbeddingConfig, key: str) -> None:
    """Require the library and the model, without loading weights.

    Args:
        config: settings with the model.
        key: name of the model in messages.

    Raises:
        ModelError: if one of them is missing.
    """
    _require_library()
    name = str(config.model)
    if (Path(name).expanduser() / MODULES).is_file():
        return
    from huggingface_hub import hf_hub_download
    from transformers import AutoConfig

    try:
        hf_hub_download(name if "/" in name else f"{ORGANIZATION}/{name}", MODULES, revision=config.revision)
    except Exception:  # without this file it must be a plain transformers model, or the next line raises
        load_pretrained(AutoConfig, name, key, config.revision)


def _require_library() -> None:
    if find_spec(LIBRARY) is None:
        raise ModelError(
            "Embeddings by `sentence_transformers` need that library, but it is not installed: "
            "`pip install sentence-transformers` (Duelist's extra `embeddings`), or use source `hidden_states` or "
            "`file`."
        )
