"""Vocabulary of a model."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from duelist.errors import DataError


def vocabulary_size(layer: Any) -> int | None:
    """Return the vocabulary size of an embedding or output layer, with or without an adapter; None if unknown."""
    while hasattr(layer, "base_layer"):
        layer = layer.base_layer
    size = getattr(layer, "num_embeddings", None) or getattr(layer, "out_features", None)
    return None if size is None else int(size)


def check_vocabulary(layer: Any, token_ids: Iterable[Sequence[int]]) -> None:
    """Require token ids that `layer` has rows for.

    Args:
        layer: the model's embedding or output layer.
        token_ids: token ids of each sequence.

    Raises:
        DataError: if an id has no row; the message names it and the size of the vocabulary.
    """
    size = vocabulary_size(layer)
    if size is None:
        return
    for ids in token_ids:
        if len(ids) and not 0 <= min(ids) <= max(ids) < size:
            odd = min(ids) if min(ids) < 0 else max(ids)
            raise DataError(
                f"Token ids must be from 0 to {size - 1}, the model's vocabulary, but one is {odd}: use the model's "
                "own tokenizer, or call model.resize_token_embeddings(len(tokenizer)) after adding tokens to it."
            )
