"""Context length of a model, and the sequence lengths at which its position encoding changes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

# Names that configurations use for the longest sequence, in tokens.
_NAMES = ("max_position_embeddings", "max_seq_len", "max_target_positions")

# These models number positions from the padding token's id + 1, so their last positions cannot be used.
FROM_PADDING = (
    "camembert",
    "data2vec-text",
    "roberta",
    "roberta-prelayernorm",
    "xlm-roberta",
    "xlm-roberta-xl",
    "xmod",
)


def context_length(config: Any) -> int | None:
    """Return the longest sequence that a model with this configuration takes, in tokens; None if it is not defined."""
    config = config.get_text_config()
    length = next((n for name in _NAMES if (n := getattr(config, name, None)) is not None), None)
    if length is None or length < 1:  # XLNet says −1: no limit
        return None
    if config.model_type in FROM_PADDING and config.pad_token_id is not None:
        length -= config.pad_token_id + 1
    return int(length)


def length_thresholds(config: Any) -> tuple[int, ...]:
    """Return the lengths in tokens beyond which a model encodes every position differently, ascending.

    Most models have none. LongRoPE (Phi-3's long contexts) selects its factors by the longest sequence of a batch, so a
    short sequence is encoded differently next to a long one. Related methods (YaRN, Llama 3's) have fixed factors, and
    dynamic NTK changes them only beyond the context.
    """
    rope = getattr(config.get_text_config(), "rope_parameters", None) or {}
    kinds = [rope, *(x for x in rope.values() if isinstance(x, dict))]  # for all layers, or by kind of layer
    found = {
        x["original_max_position_embeddings"]
        for x in kinds
        if x.get("original_max_position_embeddings") and (x.get("rope_type") == "longrope" or "long_mscale" in x)
    }
    return tuple(sorted(found))


def regime(length: int, thresholds: Sequence[int]) -> int:
    """Return how many thresholds a sequence exceeds; only sequences with the same number may share a batch."""
    return sum(length > threshold for threshold in thresholds)
