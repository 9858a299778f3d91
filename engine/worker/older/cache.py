"""A cache in layers, as transformers 5 has it, for the models of 4. Imported with transformers 4 alone.

The models of 4 mask a sliding window themselves, so every layer keeps every token.
"""

from typing import Any

import torch
from torch import Tensor
from transformers import cache_utils


class CacheLayerMixin:
    """Keys and values [batch, heads, n, size] of one layer."""

    keys: Tensor | None = None
    values: Tensor | None = None
    is_initialized = False


class DynamicLayer(CacheLayerMixin):
    """A layer that keeps every token."""

    is_sliding = False

    def lazy_initialization(self, key_states: Tensor, value_states: Tensor) -> None:
        """Empty keys and values, like these."""
        self.keys, self.values = key_states[..., :0, :], value_states[..., :0, :]
        self.is_initialized = True

    def update(
        self, key_states: Tensor, value_states: Tensor, *args: Any, **kwargs: Any
    ) -> tuple[Tensor, Tensor]:
        """Append [batch, heads, new, size]; all there is now."""
        if self.keys is None or self.values is None:
            self.keys, self.values = key_states, value_states
        else:
            self.keys = torch.cat([self.keys, key_states], dim=-2)
            self.values = torch.cat([self.values, value_states], dim=-2)
        self.is_initialized = True
        return self.keys, self.values

    def get_seq_length(self) -> int:
        """Tokens that it holds."""
        return 0 if self.keys is None else int(self.keys.shape[-2])

    def crop(self, tokens_to_remove: int) -> None:
        """Drop the last ones, as many as the negative number says."""
        if tokens_to_remove and self.keys is not None and self.values is not None:
            self.keys = self.keys[..., :tokens_to_remove, :]
            self.values = self.values[..., :tokens_to_remove, :]


class DynamicSlidingWindowLayer(DynamicLayer):
    """Never made here."""


class DummyLayer(DynamicLayer):
    """Never made here."""


class DynamicCache(cache_utils.DynamicCache):
    """The cache of 4 with the layers of 5."""

    def __init__(self, data: Any = None, config: Any = None) -> None:
        super().__init__()
        count = 0 if config is None else config.get_text_config().num_hidden_layers
        self.layers: list[Any] = [DynamicLayer() for _ in range(count)]
        for layer, (keys, values) in enumerate(data or ()):
            self.update(keys, values, layer)

    def update(
        self, key_states: Tensor, value_states: Tensor, layer_idx: int, cache_kwargs: Any = None
    ) -> tuple[Tensor, Tensor]:
        """Append to a layer; all it holds now."""
        while len(self.layers) <= layer_idx:
            self.layers.append(DynamicLayer())
        found: tuple[Tensor, Tensor] = self.layers[layer_idx].update(key_states, value_states)
        return found

    def get_seq_length(self, layer_idx: int | None = 0) -> int:
        """Tokens that a layer holds."""
        index = layer_idx or 0
        return int(self.layers[index].get_seq_length()) if index < len(self.layers) else 0

    def crop(self, tokens_to_remove: int) -> None:
        """Drop the last tokens of every layer, as many as the negative number says."""
        for layer in self.layers:
            layer.crop(tokens_to_remove)

    def __len__(self) -> int:
        return len(self.layers)

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor]:
        return self.layers[index].keys, self.layers[index].values

    def __iter__(self) -> Any:
        return ((layer.keys, layer.values) for layer in self.layers)
