"""Vectors of a study's responses: those it has stored, else its reward model's, or its policy's hidden states."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from duelist.models.embeddings.cache import EmbeddingCache, read_vectors
from duelist.models.embeddings.config import EmbeddingConfig
from duelist.models.embeddings.sources import make_embedder
from duelist.models.policy.policy import Policy
from duelist.progress import Progress
from duelist.recipe.reading import saved_recipe
from duelist.recipe.recipe import policy_of
from duelist.seeding import derived_seed
from duelist.store.layout import EMBEDDINGS
from duelist.study.components import prepared
from duelist.study.fine_tuning import with_fine_tuned
from duelist.types import Prompt, Response

OWN = "audit"  # the folder of vectors that only audits need


def response_vectors(
    folder: Path,
    recipe: Mapping[str, Any],
    prompts: Mapping[str, Prompt],
    responses: Sequence[Response],
    embeddings: Path | None,
    progress: Progress,
) -> tuple[NDArray[np.float32], str]:
    """Return a vector of each response, `[R, H]`, and what they are, in words.

    A vector that is computed here is stored in the study's folder, under `embeddings/audit`.

    Args:
        folder: the study's folder.
        recipe: its recipe as plain data.
        prompts: the prompts of the responses, by id.
        responses: the responses.
        embeddings: a file of embeddings to use instead.
        progress: receives the number of embedded responses.

    Raises:
        DataError: if the file has no vector for a response.
        ModelError: if the model cannot be loaded.
    """
    if embeddings is not None:
        config = EmbeddingConfig(source="file", path=str(embeddings))
        return EmbeddingCache(make_embedder(config))(prompts, responses, progress), f"the vectors of {embeddings.name}"
    for place in sorted((folder / EMBEDDINGS).glob("*")):
        if place.name != OWN and (known := _stored(place, responses)) is not None:
            return known, f"the study's own vectors ({place.name})"
    saved = saved_recipe(recipe)
    words = "the base model's hidden states" if saved.reward_model is None else "the reward model's vectors"
    if (known := _stored(folder / EMBEDDINGS / OWN, responses)) is not None:
        return known, words
    ready = with_fine_tuned(prepared(saved, progress), folder)
    config = EmbeddingConfig() if ready.reward_model is None else ready.reward_model.embedding
    policy = None
    if config.source == "hidden_states" and config.model is None:
        policy = Policy.load(policy_of(ready), derived_seed(ready.seed, "lora"))
    cache = EmbeddingCache(make_embedder(config, policy), folder / EMBEDDINGS / OWN)
    return cache(prompts, responses, progress), words


def _stored(place: Path, responses: Sequence[Response]) -> NDArray[np.float32] | None:
    """Return the vectors of all responses that a folder holds, `[R, H]`; None if one is missing."""
    known = read_vectors(place)
    if not known or any(r.id not in known for r in responses):
        return None
    return np.stack([known[r.id] for r in responses])
