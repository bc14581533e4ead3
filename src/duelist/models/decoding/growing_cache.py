"""Key-value cache with preallocated space: a new token is written in place, and earlier ones are not copied.

transformers' `DynamicLayer` copies all keys and values for every token. For long responses this costs as much as the
model. We rely on two internals of it: it stores only `keys` and `values`, with the sequence as the last dimension but
one, and `update` appends to them. Other layers (sliding windows, linear attention) are unchanged.
"""

from __future__ import annotations

from typing import Any, final

import torch
from transformers.cache_utils import DynamicCache, DynamicLayer

ROOM = 64  # tokens; existing entries are copied once per this many tokens


def grow_in_place(cache: DynamicCache) -> None:
    """Replace the layers of `cache` that store all keys and values with layers that grow without copying."""
    cache.layers = [
        GrowingLayer(layer) if type(layer) is DynamicLayer and layer.is_initialized else layer for layer in cache.layers
    ]


@final
class GrowingLayer(DynamicLayer):  # type: ignore[misc]
    """Cache layer that continues from `filled`; `keys` and `values` are the used part of larger tensors."""

    def __init__(self, filled: DynamicLayer) -> None:
        super().__init__()
        self.keys, self.values, self.is_initialized = filled.keys, filled.values, True
        # transformers 5.24 no longer keeps the layer's dtype, 5.23 needs it.
        self.dtype, self.device = filled.keys.dtype, filled.keys.device
        self._room: dict[str, torch.Tensor] = {}

    def update(
        self, key_states: torch.Tensor, value_states: torch.Tensor, *_: Any, **__: Any
    ) -> tuple[torch.Tensor, torch.Tensor]:
        self.keys = self._appended("keys", self.keys, key_states)
        self.values = self._appended("values", self.values, value_states)
        return self.keys, self.values

    def _appended(self, name: str, held: torch.Tensor, new: torch.Tensor) -> torch.Tensor:
        room, length = self._room.get(name), held.shape[-2]
        total = length + new.shape[-2]
        # After a selection of rows, `held` is a separate tensor.
        if room is None or room.data_ptr() != held.data_ptr() or room.shape[-2] < total:
            room = held.new_empty((*held.shape[:-2], total + ROOM, held.shape[-1]))
            room[..., :length, :] = held
            self._room[name] = room
        room[..., length:total, :] = new
        return room[..., :total, :]
