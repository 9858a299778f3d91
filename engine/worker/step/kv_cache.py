"""A KV cache with spare capacity: a new token is written in place, and nothing is copied for it.

Owns the capacity, and the layers that hold tokens in 8 bits. transformers' own layer concatenates, which
copies every key and value for every token. On a GPU capacity doubles, so that a captured step stays valid for
long; on a CPU it grows in small steps.
"""

import math
from typing import Any

import torch
from torch import Tensor
from transformers import DynamicCache, PreTrainedConfig
from transformers.cache_utils import DummyLayer, DynamicLayer, DynamicSlidingWindowLayer

from engine.config import runtime
from engine.config.runtime import CacheDtype
from engine.shape import context_window
from engine.worker.step import eight_bits


class GrowingCache(DynamicCache):
    """transformers' cache, and the step captured for its buffers, which is valid as long as they are."""

    captured_step: object = None
    dtype: CacheDtype = "auto"
    """How its layers hold what they keep."""
    stable_tokens: float = math.inf
    """Up to here keys do not depend on the text's length; beyond, with dynamic and long RoPE, they do."""
    read_again_at: float = math.inf
    """Where a text gets this long, all of it is read once more: families that do so in `generate`."""

    def can_be_cropped(self) -> bool:
        """Whether a cache without its last tokens is as if those had never been read."""
        return has_buffers(self) and self.get_seq_length() <= self.stable_tokens

    @property
    def capacity_tokens(self) -> int:
        """How many tokens the buffers hold; 0 where there are none yet, or the layers have no buffers."""
        return int(buffer.shape[-2]) if (buffer := self._first_buffer()) is not None else 0

    def has_batch(self, batch: int) -> bool:
        """Whether its buffers are allocated for `batch` sequences."""
        return (buffer := self._first_buffer()) is not None and buffer.shape[0] == batch

    def _first_buffer(self) -> Tensor | None:
        first = self.layers[0]
        return first.key_buffer if isinstance(first, GrowingLayer) and first.is_initialized else None

    @torch.inference_mode()
    def copied_to(self, empty: "GrowingCache") -> "GrowingCache":
        """`empty`, with the keys and values of this one; outside this mode filled buffers take none."""
        for layer, target in zip(self.layers, empty.layers, strict=True):
            layer.copy_to(target)
        return empty

    def chunks(self, token_ids: Tensor, length: int) -> tuple[Tensor, ...]:
        """`token_ids` [batch, n] in chunks that may be read one after the other, of at most `length`."""
        return chunks(self, token_ids, length)

    def clear(self, config: PreTrainedConfig) -> None:
        """Drop all; buffers are kept."""
        if has_buffers(self):
            self.truncate(0)
        else:
            self.layers[:] = growing_cache(config, dtype=self.dtype).layers

    def truncate(self, tokens: int) -> None:
        """Drop everything after the first `tokens`: an interrupted pass has filled some layers only.

        Afterwards all have the same capacity: the first layer's stands for all of them.
        """
        layers = [layer for layer in self.layers if isinstance(layer, GrowingLayer) and layer.is_initialized]
        most = max((layer.key_buffer.shape[-2] for layer in layers), default=0)
        for layer in layers:
            layer.set_length(min(tokens, layer.get_seq_length()))
            layer.reserve(most)


def growing_cache(
    config: PreTrainedConfig, expected_tokens: int = 0, dtype: CacheDtype = "auto"
) -> GrowingCache:
    """An empty cache; layers with a window or a state stay transformers' own.

    On a GPU it has capacity for `expected_tokens` from the beginning.
    """
    cache = GrowingCache(config=config)
    cache.stable_tokens, cache.dtype = _stable_tokens(config), dtype
    if config.get_text_config().model_type in READ_AGAIN:
        cache.read_again_at = cache.stable_tokens + 1
    cache.layers = [
        _layer(expected_tokens, dtype) if type(layer) is DynamicLayer else layer for layer in cache.layers
    ]
    return cache


def drop_idle_window(config: PreTrainedConfig) -> None:
    """Take a window out of a model's config that no text is longer than: its layers keep every token."""
    said, family = getattr(config, "sliding_window", None), config.model_type
    if not isinstance(said, int) or family not in runtime.ONE_WINDOW:
        return
    if not runtime.window(family, said, context_window.of(config.to_dict())):
        config.sliding_window = None


def require_dtype(config: PreTrainedConfig, dtype: CacheDtype, name: str) -> None:
    """LoadError where a model of this config cannot have a cache in `dtype`."""
    keeps_all = dtype == "auto" or has_buffers(growing_cache(config, dtype=dtype))
    runtime.require_cache(dtype, name, keeps_all=keeps_all)


def has_buffers(cache: DynamicCache) -> bool:
    """Whether all layers keep all tokens, in buffers of their own."""
    return all(isinstance(layer, GrowingLayer) for layer in cache.layers)


def _stable_tokens(config: PreTrainedConfig) -> float:
    """The length up to which keys do not depend on it, as they do with dynamic and long RoPE."""
    text = config.get_text_config()
    stated = getattr(text, "rope_parameters", None) or {}
    for rope in (stated, *stated.values()):  # of the model, or of each type of layer
        kind = rope.get("rope_type") if isinstance(rope, dict) else None
        if kind is not None and ("dynamic" in kind or kind == "longrope"):
            return int(rope.get("original_max_position_embeddings") or text.max_position_embeddings)
    return math.inf


def chunks(cache: DynamicCache, token_ids: Tensor, length: int) -> tuple[Tensor, ...]:
    """`token_ids` [batch, n] in chunks that may be read one after the other, of at most `length`.

    A state that a layer keeps instead of keys and values is computed from a whole prompt and then updated by
    single tokens, as in transformers' `generate`: some models would forget it between two chunks. A prompt
    whose keys depend on its length is read whole, too.
    """
    held = cache.get_seq_length()
    if not all(type(layer) in _KEYS_AND_VALUES for layer in cache.layers):
        length = 1 if held else token_ids.shape[1]
    elif held + token_ids.shape[1] > getattr(cache, "stable_tokens", math.inf):
        length = token_ids.shape[1]
    return token_ids.split(max(1, length), dim=1)


class GrowingLayer(DynamicLayer):
    """Keys and values [batch, heads, n, size] of one layer: views of the beginning of their buffers."""

    keys: Tensor
    values: Tensor
    key_buffer: Tensor
    value_buffer: Tensor
    position: Tensor | None = None
    """[1]: where a captured step writes its token. It gets the whole buffers and masks the unused part."""

    def __init__(self, expected_tokens: int = 0) -> None:
        super().__init__()
        self._expected_tokens = expected_tokens

    def update(
        self, key_states: Tensor, value_states: Tensor, *args: Any, **kwargs: Any
    ) -> tuple[Tensor, Tensor]:
        """Append [batch, heads, new, size]; all there is now."""
        if self.position is not None:
            self.key_buffer.index_copy_(-2, self.position, key_states)
            self.value_buffer.index_copy_(-2, self.position, value_states)
            return self.key_buffer, self.value_buffer
        begin = self.get_seq_length()
        end = begin + key_states.shape[-2]
        if not self.is_initialized:
            self.lazy_initialization(key_states, value_states)
            tokens = runtime.capacity_tokens(end, key_states.device.type, self._expected_tokens)
            self.key_buffer, self.value_buffer = _buffer(key_states, tokens), _buffer(value_states, tokens)
        self.reserve(end)
        self.key_buffer.narrow(-2, begin, end - begin).copy_(key_states)
        self.value_buffer.narrow(-2, begin, end - begin).copy_(value_states)
        self.set_length(end)
        return self.keys, self.values

    def copy_to(self, empty: "GrowingLayer") -> None:
        """Put all there is into another layer of this kind."""
        empty.update(self.keys, self.values)

    def set_length(self, tokens: int) -> None:
        """The first `tokens` positions are filled."""
        self.keys, self.values = (
            self.key_buffer.narrow(-2, 0, tokens),
            self.value_buffer.narrow(-2, 0, tokens),
        )

    def reserve(self, tokens: int) -> None:
        """Move to larger buffers where these are too small for `tokens`."""
        if tokens <= self.key_buffer.shape[-2]:
            return
        held, tokens = self.get_seq_length(), runtime.capacity_tokens(tokens, self.key_buffer.device.type)
        self.key_buffer = _copied(self.keys, _buffer(self.keys, tokens))
        self.value_buffer = _copied(self.values, _buffer(self.values, tokens))
        self.set_length(held)


class EightBitLayer(GrowingLayer):
    """The same in 8 bits: `keys` and `values` are codes, and what `update` returns are numbers again.

    Every token is attended as it is held, those that are read in the same pass too.
    """

    def __init__(self, dtype: CacheDtype, expected_tokens: int = 0) -> None:
        super().__init__(expected_tokens)
        self._held_as = dtype
        self.scales = GrowingLayer(expected_tokens)
        """Of keys and values, [batch, heads, n, 1]."""

    def update(
        self, key_states: Tensor, value_states: Tensor, *args: Any, **kwargs: Any
    ) -> tuple[Tensor, Tensor]:
        """Append [batch, heads, new, size]; all there is now, as it is held, in the same dtype."""
        keys, key_scales = eight_bits.rounded(key_states, self._held_as)
        values, value_scales = eight_bits.rounded(value_states, self._held_as)
        self.scales.position = self.position
        key_scales, value_scales = self.scales.update(key_scales, value_scales)
        keys, values = super().update(keys, values)
        return (
            eight_bits.restored(keys, key_scales, key_states.dtype),
            eight_bits.restored(values, value_scales, value_states.dtype),
        )

    def copy_to(self, empty: GrowingLayer) -> None:
        """Codes and scales as they are."""
        if isinstance(empty, EightBitLayer):
            self.scales.copy_to(empty.scales)
            super(EightBitLayer, empty).update(self.keys, self.values)

    def set_length(self, tokens: int) -> None:
        """The first `tokens` positions are filled."""
        super().set_length(tokens)
        self.scales.set_length(tokens)

    def reserve(self, tokens: int) -> None:
        """Move to larger buffers where these are too small for `tokens`."""
        super().reserve(tokens)
        self.scales.reserve(tokens)

    def crop(self, tokens_to_remove: int) -> None:
        """Drop the last tokens, as many as the negative number says."""
        super().crop(tokens_to_remove)
        self.scales.crop(tokens_to_remove)

    def reset(self) -> None:
        """Drop all."""
        super().reset()
        self.scales.reset()


def _layer(expected_tokens: int, dtype: CacheDtype) -> GrowingLayer:
    return GrowingLayer(expected_tokens) if dtype == "auto" else EightBitLayer(dtype, expected_tokens)


def _buffer(like: Tensor, tokens: int) -> Tensor:
    """[batch, heads, tokens, size]; zeros, because masked positions must still be finite."""
    batch, heads, _, size = like.shape
    return torch.zeros((batch, heads, tokens, size), dtype=like.dtype, device=like.device)


def _copied(held: Tensor, into: Tensor) -> Tensor:
    into.narrow(-2, 0, held.shape[-2]).copy_(held)
    return into


READ_AGAIN = ("phi3", "phimoe")
"""Families whose `generate` replaces the cache when a text outgrows its short RoPE factors."""
_KEYS_AND_VALUES = (GrowingLayer, EightBitLayer, DynamicLayer, DynamicSlidingWindowLayer, DummyLayer)
