"""One token through a Llama-like model on a GPU: five kernels a layer, the same for every method.

Owns their order; weights stay where the model has them. Sums are in float32 and rounded where transformers
rounds, but for a norm before a product. Knows no requests, and not whether a graph holds the kernels.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from transformers import DynamicCache, PreTrainedModel

from engine.config import runtime
from engine.worker.step import llama, native
from engine.worker.step.cuda import launch
from engine.worker.step.cuda.layouts import Held, read
from engine.worker.step.kv_cache import GrowingCache, GrowingLayer


@dataclass(frozen=True, slots=True)
class _Layer:
    before_attention: llama.Norm
    query_key_value: tuple[Held, ...]
    head_norms: tuple[llama.Norm, llama.Norm] | None
    sizes: llama.Sizes
    out: tuple[Held, ...]
    before_feed: llama.Norm
    gate_up: tuple[Held, ...]
    down: tuple[Held, ...]

    @classmethod
    def build(cls, layer: llama.Layer) -> "_Layer | None":
        """None where a matrix is held in an unknown way, or q, k, v or gate, up in different ones."""
        groups = [_read(modules) for modules in layer.groups()]
        found = [each for each in groups if each is not None]
        if len(found) < len(groups):
            return None
        query_key_value, out, gate_up, down = found
        return cls(
            before_attention=layer.attention_norm,
            query_key_value=query_key_value,
            head_norms=layer.head_norms,
            sizes=layer.sizes,
            out=out,
            before_feed=layer.feed_norm,
            gate_up=gate_up,
            down=down,
        )


def _read(modules: Sequence[nn.Module]) -> tuple[Held, ...] | None:
    """Layers that one launch multiplies with."""
    held = [each for each in map(read, modules) if each is not None]
    is_one = len(held) == len(modules) and all(held[0].shares_input_with(other) for other in held[1:])
    return tuple(held) if is_one else None


class TritonStep:
    """A model as a function of the next token."""

    most_sequences = launch.MOST_SEQUENCES

    def __init__(self, model: PreTrainedModel, layers: list[_Layer], head: Held) -> None:
        self._embed, self._head, self._layers = model.get_input_embeddings(), head, layers
        self._rotary, self._sizes = llama.rotary_of(model), llama.sizes_of(model)
        self._norm, self._native = llama.last_norm(model), native.step_for(model)

    @classmethod
    def build(cls, model: PreTrainedModel) -> "TritonStep | None":
        """Out of the layers as they are now; None where one cannot be read, and without SwiGLU."""
        if model.config.hidden_act != runtime.COMPILED_ACTIVATION:
            return None
        layers = [_Layer.build(layer) for layer in llama.layers_of(model)]
        head, found = read(model.get_output_embeddings()), [layer for layer in layers if layer is not None]
        return cls(model, found, head) if head is not None and len(found) == len(layers) else None

    def __call__(self, token_ids: Tensor, cache: GrowingCache) -> Tensor:
        """Append `token_ids` [batch, 1] to the cache; logits [batch, 1, vocab] for the next token."""
        held = cache.get_seq_length()
        layers = [layer for layer in cache.layers if isinstance(layer, GrowingLayer)]
        for layer in layers:
            layer.reserve(held + 1)
        logits = self.at_position(token_ids, torch.tensor([held], device=token_ids.device), None, cache)
        for layer in layers:
            layer.set_length(held + 1)
        return logits

    def at_position(
        self, token_ids: Tensor, position: Tensor, mask: Tensor | None, cache: DynamicCache
    ) -> Tensor:
        """The same at a position [1] that the device knows; larger batches by the native step."""
        if len(token_ids) > self.most_sequences and self._native is not None:
            return self._native.at_position(token_ids, position, mask, cache)
        embedded = native.scaled(self._embed(token_ids), self._sizes.embedding_scale)
        x = embedded[:, 0].contiguous()  # [batch, hidden]
        cosine, sine = self._rotary(x[:, None], position[None])
        arrived = torch.zeros(len(x) * self._sizes.kv_heads, dtype=torch.int32, device=x.device)
        token = launch.Token(cosine.reshape(-1), sine.reshape(-1), position, arrived)
        for layer, past in zip(self._layers, cache.layers, strict=True):
            qkv = launch.linear(x, layer.query_key_value, layer.before_attention)
            buffers = past.key_buffer, past.value_buffer
            y = launch.attend(qkv, token, buffers, layer.head_norms, layer.sizes)
            x = launch.linear(y, layer.out, residual=x, scale=self._sizes.residual_scale)
            y = launch.swiglu(x, layer.gate_up, layer.before_feed)
            x = launch.linear(y, layer.down, residual=x, scale=self._sizes.residual_scale)
        logits = launch.linear(x, (self._head,), self._norm)[:, None]
        return logits if self._sizes.logits_scale == 1 else logits / self._sizes.logits_scale
