"""A KV cache with room ahead: a new token is written into place, and nothing is copied for it.

Owns the room. transformers' own layer concatenates, which copies every key and value for every token.
"""

from typing import Any

import torch
from torch import Tensor
from transformers import DynamicCache, PreTrainedConfig
from transformers.cache_utils import DynamicLayer

ROOM_TOKENS = 64  # the room grows by so many


def growing_cache(config: PreTrainedConfig) -> DynamicCache:
    """An empty cache; layers with a window or a state keep transformers' own way."""
    cache = DynamicCache(config=config)
    cache.layers = [GrowingLayer() if type(layer) is DynamicLayer else layer for layer in cache.layers]
    return cache


class GrowingLayer(DynamicLayer):
    """Keys and values [batch, heads, n, size] of one layer: views of the first n places of their rooms."""

    keys: Tensor
    values: Tensor

    def update(
        self, key_states: Tensor, value_states: Tensor, *args: Any, **kwargs: Any
    ) -> tuple[Tensor, Tensor]:
        """Append [batch, heads, new, size]; all there is now."""
        begin = self.get_seq_length()
        end = begin + key_states.shape[-2]
        if begin == 0:
            self.lazy_initialization(key_states, value_states)
            self.key_room, self.value_room = _room(key_states, end), _room(value_states, end)
        elif end > self.key_room.shape[-2]:
            self.key_room = _moved(self.keys, _room(key_states, end))
            self.value_room = _moved(self.values, _room(value_states, end))
        self.key_room.narrow(-2, begin, end - begin).copy_(key_states)
        self.value_room.narrow(-2, begin, end - begin).copy_(value_states)
        self.keys, self.values = self.key_room.narrow(-2, 0, end), self.value_room.narrow(-2, 0, end)
        return self.keys, self.values


def _room(like: Tensor, tokens: int) -> Tensor:
    """Uninitialized [batch, heads, room, size] for at least `tokens`."""
    batch, heads, _, size = like.shape
    return torch.empty(
        (batch, heads, -(-tokens // ROOM_TOKENS) * ROOM_TOKENS, size), dtype=like.dtype, device=like.device
    )


def _moved(held: Tensor, room: Tensor) -> Tensor:
    room.narrow(-2, 0, held.shape[-2]).copy_(held)
    return room
