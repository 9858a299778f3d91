"""A KV cache with room ahead: a new token is written into place, and nothing is copied for it.

Owns the room. transformers' own layer concatenates, which copies every key and value for every token. On a
GPU rooms double, so that a step captured for one lasts; on a CPU they grow in small steps.
"""

import math
from typing import Any

import torch
from torch import Tensor
from transformers import DynamicCache, PreTrainedConfig
from transformers.cache_utils import DummyLayer, DynamicLayer, DynamicSlidingWindowLayer

from engine.config import runtime


class GrowingCache(DynamicCache):
    """transformers' cache, and whatever was made for its rooms and lasts as long as they do."""

    made_for_rooms: object = None
    steady_tokens: float = math.inf
    """So many tokens have the keys they would have in any longer text; beyond, its length turns them."""

    def can_be_cropped(self) -> bool:
        """Whether what is left, without the last tokens, is as if those had never been read."""
        keeps_all = all(type(layer) is GrowingLayer for layer in self.layers)
        return keeps_all and self.get_seq_length() <= self.steady_tokens

    @property
    def capacity_tokens(self) -> int:
        """How many tokens there is room for; 0 where there is none yet, or the layers have no rooms."""
        return int(room.shape[-2]) if (room := self._first_room()) is not None else 0

    def serves(self, batch: int) -> bool:
        """Whether it has rooms for so many sequences."""
        return (room := self._first_room()) is not None and room.shape[0] == batch

    def _first_room(self) -> Tensor | None:
        first = self.layers[0]
        return first.key_room if isinstance(first, GrowingLayer) and first.is_initialized else None

    def moved(self, into: "GrowingCache") -> "GrowingCache":
        """`into`, which is empty, with the keys and values that this one holds."""
        for layer, target in zip(self.layers, into.layers, strict=True):
            target.update(layer.keys, layer.values)
        return into

    def pieces(self, token_ids: Tensor, length: int) -> tuple[Tensor, ...]:
        """`token_ids` [batch, n] as they may be read one after the other: at most `length` at once."""
        return pieces(self, token_ids, length)

    def forget_beyond(self, tokens: int) -> None:
        """Let no layer hold more: a pass that was left in the middle has filled some of them only.

        All have room for as many afterwards: the first layer's room is taken for everybody's.
        """
        layers = [layer for layer in self.layers if isinstance(layer, GrowingLayer) and layer.is_initialized]
        most = max((layer.key_room.shape[-2] for layer in layers), default=0)
        for layer in layers:
            layer.hold(min(tokens, layer.get_seq_length()))
            layer.make_room(most)


def growing_cache(config: PreTrainedConfig, expected_tokens: int = 0) -> GrowingCache:
    """An empty cache; layers with a window or a state keep transformers' own way.

    On a GPU it has room for `expected_tokens` from the beginning.
    """
    cache = GrowingCache(config=config)
    cache.steady_tokens = _steady_tokens(config)
    cache.layers = [
        GrowingLayer(expected_tokens) if type(layer) is DynamicLayer else layer for layer in cache.layers
    ]
    return cache


def _steady_tokens(config: PreTrainedConfig) -> float:
    """Up to where a text's length turns no keys, as it does with dynamic and long RoPE."""
    text = config.get_text_config()
    stated = getattr(text, "rope_parameters", None) or {}
    for rope in (stated, *stated.values()):  # of the model, or of each type of layer
        kind = rope.get("rope_type") if isinstance(rope, dict) else None
        if kind is not None and ("dynamic" in kind or kind == "longrope"):
            return int(rope.get("original_max_position_embeddings") or text.max_position_embeddings)
    return math.inf


def pieces(cache: DynamicCache, token_ids: Tensor, length: int) -> tuple[Tensor, ...]:
    """`token_ids` [batch, n] as they may be read one after the other: at most `length` at once.

    A state that a layer keeps instead of keys and values is made of a whole prompt and goes on by single
    tokens, as in transformers' `generate`: some models would forget it between two chunks. A prompt whose
    length turns its keys is read whole, too.
    """
    held = cache.get_seq_length()
    if not all(type(layer) in _KEYS_AND_VALUES for layer in cache.layers):
        length = 1 if held else token_ids.shape[1]
    elif held + token_ids.shape[1] > getattr(cache, "steady_tokens", math.inf):
        length = token_ids.shape[1]
    return token_ids.split(max(1, length), dim=1)


class GrowingLayer(DynamicLayer):
    """Keys and values [batch, heads, n, size] of one layer: views of the first n places of their rooms."""

    keys: Tensor
    values: Tensor
    key_room: Tensor
    value_room: Tensor
    place: Tensor | None = None
    """[1]: where a captured step writes its token. It then gets the whole room, masking what is not held."""

    def __init__(self, expected_tokens: int = 0) -> None:
        super().__init__()
        self._expected_tokens = expected_tokens

    def update(
        self, key_states: Tensor, value_states: Tensor, *args: Any, **kwargs: Any
    ) -> tuple[Tensor, Tensor]:
        """Append [batch, heads, new, size]; all there is now."""
        if self.place is not None:
            self.key_room.index_copy_(-2, self.place, key_states)
            self.value_room.index_copy_(-2, self.place, value_states)
            return self.key_room, self.value_room
        begin = self.get_seq_length()
        end = begin + key_states.shape[-2]
        if not self.is_initialized:
            self.lazy_initialization(key_states, value_states)
            tokens = runtime.capacity_tokens(end, key_states.device.type, self._expected_tokens)
            self.key_room, self.value_room = _room(key_states, tokens), _room(value_states, tokens)
        self.make_room(end)
        self.key_room.narrow(-2, begin, end - begin).copy_(key_states)
        self.value_room.narrow(-2, begin, end - begin).copy_(value_states)
        self.hold(end)
        return self.keys, self.values

    def hold(self, tokens: int) -> None:
        """So many places of the room are filled."""
        self.keys, self.values = self.key_room.narrow(-2, 0, tokens), self.value_room.narrow(-2, 0, tokens)

    def make_room(self, tokens: int) -> None:
        """Move to a larger room where this one has no place for so many."""
        if tokens <= self.key_room.shape[-2]:
            return
        held, tokens = self.get_seq_length(), runtime.capacity_tokens(tokens, self.key_room.device.type)
        self.key_room = _moved(self.keys, _room(self.keys, tokens))
        self.value_room = _moved(self.values, _room(self.values, tokens))
        self.hold(held)


def _room(like: Tensor, tokens: int) -> Tensor:
    """[batch, heads, tokens, size]; zeros, because masked places must be numbers all the same."""
    batch, heads, _, size = like.shape
    return torch.zeros((batch, heads, tokens, size), dtype=like.dtype, device=like.device)


def _moved(held: Tensor, room: Tensor) -> Tensor:
    room.narrow(-2, 0, held.shape[-2]).copy_(held)
    return room


_KEYS_AND_VALUES = (GrowingLayer, DynamicLayer, DynamicSlidingWindowLayer, DummyLayer)
