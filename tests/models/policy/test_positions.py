"""How long a model's context is, by its configuration, and where LongRoPE changes."""

from __future__ import annotations

from typing import Any

import pytest
from transformers import (
    BloomConfig,
    GPT2Config,
    LlamaConfig,
    MptConfig,
    Phi3Config,
    RobertaConfig,
    WhisperConfig,
    XLNetConfig,
)

from duelist.models.policy.positions import context_length, length_thresholds, regime

LONG = {"rope_type": "longrope", "rope_theta": 1e4, "original_max_position_embeddings": 8}
LONG |= {"short_factor": [1.0] * 2, "long_factor": [2.0] * 2}
SMALL: dict[str, Any] = {"hidden_size": 16, "num_attention_heads": 4, "num_key_value_heads": 4, "pad_token_id": 0}


@pytest.mark.parametrize(
    ("config", "length"),
    [
        (LlamaConfig(max_position_embeddings=77), 77),
        (GPT2Config(n_positions=33), 33),
        (MptConfig(max_seq_len=64), 64),
        (WhisperConfig(max_target_positions=48), 48),
        (RobertaConfig(max_position_embeddings=514, pad_token_id=1), 512),  # positions are numbered from 2
        (BloomConfig(), None),
        (XLNetConfig(), None),  # says -1
    ],
    ids=lambda value: getattr(value, "model_type", str(value)),
)
def test_the_context_is_what_the_configuration_says_by_whatever_name(config: Any, length: int | None) -> None:
    assert context_length(config) == length


def test_only_long_rope_depends_on_the_longest_sequence() -> None:
    phi = Phi3Config(**SMALL, original_max_position_embeddings=8, max_position_embeddings=64, rope_parameters=LONG)
    assert length_thresholds(phi) == (8,)
    yarn = {"rope_type": "yarn", "factor": 4.0, "rope_theta": 1e4, "original_max_position_embeddings": 16}
    assert length_thresholds(LlamaConfig(**SMALL, max_position_embeddings=64, rope_parameters=yarn)) == ()
    assert length_thresholds(GPT2Config()) == length_thresholds(LlamaConfig(**SMALL)) == ()
    assert [regime(n, (4, 8)) for n in (1, 4, 5, 8, 9)] == [0, 0, 1, 1, 2]
