"""How many positions a model has, and where their encoding changes with the length of what is read."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

# What configurations call the longest sequence, in tokens.
_NAMES = ("max_position_embeddings", "max_seq_len", "max_target_positions")

# These number positions from the padding token's id + 1, so that their last positions are out of reach.
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
    """The longest sequence that a model with this configuration takes, in tokens; None if it does not say."""
    config = config.get_text_config()
    length = next((n for name in _NAMES if (n := getattr(config, name, None)) is not None), None)
    if length is None or length < 1:  # XLNet says −1: no limit
        return None
    if config.model_type in FROM_PADDING and config.pad_token_id is not None:
        length -= config.pad_token_id + 1
    return int(length)


def length_thresholds(config: Any) -> tuple[int, ...]:
    """Lengths in tokens beyond which a model encodes every position in another way, ascending; most have none.

    LongRoPE (Phi-3's long contexts) takes its factors by the longest sequence of a batch: a short one is another
    sequence in the company of a long one. Its relatives (YaRN, Llama 3's) have fixed factors, and dynamic NTK changes
    them beyond the context only.
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
    """How many thresholds a sequence is beyond: only sequences with the same number may share a batch."""
    return sum(length > threshold for threshold in thresholds)
