"""A cache that grows in place computes what transformers' own computes, and copies nothing on the way."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import pytest
import torch
from transformers import DynamicCache, MambaConfig, MambaForCausalLM
from transformers.cache_utils import DynamicLayer

from duelist.errors import ModelError
from duelist.models.decoding.growing_cache import ROOM, GrowingLayer, grow_in_place
from duelist.models.decoding.next_token import _Cached
from tiny_models import VOCABULARY, tiny_model

TOKENS = torch.randint(0, VOCABULARY, (4, ROOM + 20), generator=torch.Generator().manual_seed(0))


def step(model: Any, cache: DynamicCache, t: int, rows: torch.Tensor) -> torch.Tensor:
    """The logits after the tokens t of `rows`."""
    with torch.inference_mode():
        logits: torch.Tensor = model(input_ids=TOKENS[rows, t : t + 1], past_key_values=cache, use_cache=True).logits
    return logits


@pytest.mark.parametrize("family", ["llama", "gemma2", "lfm2"])
def test_the_logits_are_those_of_transformers_cache(family: str) -> None:
    model = tiny_model(family, torch.float64).eval()
    rows, plain, growing = torch.arange(4), DynamicCache(config=model.config), DynamicCache(config=model.config)
    for t in range(TOKENS.shape[1]):
        # Not bit for bit: which kernel attention takes, and with it the last bit, depends on strides and processor.
        torch.testing.assert_close(step(model, plain, t, rows), step(model, growing, t, rows), rtol=1e-10, atol=1e-10)
        if t == 0:
            grow_in_place(growing)
            assert any(isinstance(layer, GrowingLayer) for layer in growing.layers)
        if t in (5, 30):
            index = torch.tensor([2, 0, 0] if t == 5 else [1])
            rows = rows[index]
            plain.reorder_cache(index)
            growing.reorder_cache(index)


def test_what_is_there_is_copied_once_in_many_tokens() -> None:
    model, cache = tiny_model("llama", torch.float32).eval(), DynamicCache()
    places = []
    for t in range(TOKENS.shape[1]):
        step(model, cache, t, torch.arange(4))
        if t == 0:
            grow_in_place(cache)
        places.append(cache.layers[0].keys.data_ptr())
    moved = sum(a != b for a, b in pairwise(places))
    assert moved == 2  # into the first room, and into the second


def test_a_layer_that_does_not_keep_its_type_as_of_transformers_5_24() -> None:
    layer, some = DynamicLayer(), torch.ones((1, 2, 3, 4), dtype=torch.bfloat16)
    layer.update(some, some)
    vars(layer).pop("dtype", None)
    keys, _ = GrowingLayer(layer).update(2 * some, 2 * some)
    assert keys.dtype == torch.bfloat16 and keys.sum() == 24 + 48


def test_a_model_without_such_a_cache_is_refused() -> None:
    model = MambaForCausalLM(MambaConfig(vocab_size=VOCABULARY, hidden_size=16, num_hidden_layers=1)).eval()
    with torch.inference_mode(), pytest.raises(ModelError, match="a cache whose rows can be selected"):
        _Cached(model)(torch.tensor([[1, 2]]), torch.ones((1, 2), dtype=torch.long))
