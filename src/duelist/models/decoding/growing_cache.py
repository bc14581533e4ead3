"""A cache of keys and values with room ahead: a new token is written, and what is there is not copied.

transformers' `DynamicLayer` copies all keys and values for every token, which for long responses costs as much as the
model. Relied on: `keys` and `values`, with the sequence as their last dimension but one, are all it holds, and `update`
appends to them. Other layers (sliding windows, linear attention) stay as they are.
"""

from __future__ import annotations

from typing import Any, final

import torch
from transformers.cache_utils import DynamicCache, DynamicLayer

ROOM = 64  # tokens; of what is there, all is copied once in so many tokens


def grow_in_place(cache: DynamicCache) -> None:
    """Let the layers of `cache` that keep all keys and values grow without being copied."""
    cache.layers = [
        GrowingLayer(layer) if type(layer) is DynamicLayer and layer.is_initialized else layer for layer in cache.layers
    ]


@final
class GrowingLayer(DynamicLayer):  # type: ignore[misc]
    """A layer that goes on from `filled`; its `keys` and `values` are the used part of larger tensors."""

    def __init__(self, filled: DynamicLayer) -> None:
        super().__init__()
        self.keys, self.values, self.is_initialized = filled.keys, filled.values, True
        self.dtype, self.device = filled.dtype, filled.device
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
        # After rows were selected, `held` is a tensor of its own.
        if room is None or room.data_ptr() != held.data_ptr() or room.shape[-2] < total:
            room = held.new_empty((*held.shape[:-2], total + ROOM, held.shape[-1]))
            room[..., :length, :] = held
            self._room[name] = room
        room[..., length:total, :] = new
        return room[..., :total, :]
