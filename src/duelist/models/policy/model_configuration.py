"""Part of a model's configuration that its logits depend on."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from duelist.models.policy.positions import FROM_PADDING

# Origin of a model, how it is run, and its stop tokens. Every key not listed here counts.
_LEFT_OUT = frozenset(
    {
        *("_name_or_path", "transformers_version", "architectures", "auto_map", "dtype", "torch_dtype"),
        *("use_cache", "return_dict", "output_attentions", "output_hidden_states", "gradient_checkpointing"),
        *("chunk_size_feed_forward", "id2label", "label2id", "problem_type", "bos_token_id", "eos_token_id"),
        "distributed_config",
        *("pad_token_id", "sep_token_id", "decoder_start_token_id", "forced_bos_token_id", "forced_eos_token_id"),
    }
)


def computed_with(config: Any) -> str:
    """Return the configuration and its sub-configurations as text, without keys that do not affect the logits.

    The weights' type is excluded too: the weights themselves carry it.
    """

    def kept(value: Any) -> Any:
        if isinstance(value, Mapping):
            counts = {"pad_token_id"} if value.get("model_type") in FROM_PADDING else set()
            return {str(k): kept(v) for k, v in value.items() if k not in _LEFT_OUT or k in counts}
        return value

    return json.dumps(kept(config.to_dict()), sort_keys=True, default=str)
