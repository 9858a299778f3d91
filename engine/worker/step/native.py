"""One token through a Llama-like model: the model's own weights, without transformers' Python.

Owns the arithmetic of a decode step, in transformers' order and with its roundings. The linear layers are
modules, called without hooks, so fused and quantized ones work. A single token needs no mask, and RoPE's
sign is in the sine, which changes no bit. Heads that share keys are rows of one attention: many times as
fast, with sums in another order, so a bf16 result may differ in its last bit. Knows no requests.
"""

from collections.abc import Callable
from dataclasses import dataclass
from weakref import WeakKeyDictionary

import torch
import torch.nn.functional as F  # noqa: N812
import transformers
from torch import Tensor, nn
from transformers import DynamicCache, PreTrainedModel
from transformers.cache_utils import CacheLayerMixin, DynamicLayer

from engine.config import runtime
from engine.worker import older
from engine.worker.step import llama
from engine.worker.step.linear import side_by_side

_steps: WeakKeyDictionary[PreTrainedModel, "NativeStep | None"] = WeakKeyDictionary()

ARCHITECTURES = tuple(getattr(transformers, name) for name in runtime.NATIVE.values() if not older.is_older())
DTYPES = (torch.bfloat16, torch.float16, torch.float32)  # norms are computed in float32

Linear = Callable[[Tensor], Tensor]


def step_for(model: PreTrainedModel) -> "NativeStep | None":
    """The model's native step, built once, with its layers as they are then; None where there is none."""
    if model not in _steps:
        _steps[model] = NativeStep(model) if supports(model) else None
    return _steps[model]


def supports(model: PreTrainedModel) -> bool:
    """Whether this model computes just what is done here: a known class on one device, no windows, no hooks.

    A class of the same name that comes with a checkpoint is a different one.
    """
    return (
        runtime.allows("native")
        and type(model) in ARCHITECTURES
        and model.dtype in DTYPES
        and not getattr(model.config, "is_heterogeneous", False)
        and model.device.type in ("cpu", "cuda")
        and model.config._attn_implementation == "sdpa"
        and all(type(layer) is DynamicLayer for layer in DynamicCache(config=model.config).layers)
        and not any(hasattr(module, "_hf_hook") for module in model.modules())
    )


class NativeStep:
    """A supported model, as a function of the next token."""

    def __init__(self, model: PreTrainedModel) -> None:
        self._embed, self._head = model.get_input_embeddings(), model.get_output_embeddings()
        self._rotary, self._sizes = llama.rotary_of(model), llama.sizes_of(model)
        self._layers = [_Layer.build(layer) for layer in llama.layers_of(model)]
        self._norm = _Norm(llama.last_norm(model))

    def __call__(self, token_ids: Tensor, cache: DynamicCache) -> Tensor:
        """Append `token_ids` [batch, 1] to the cache; logits [batch, 1, vocab] for the next token."""
        return self.at_position(
            token_ids, torch.tensor([cache.get_seq_length()], device=token_ids.device), None, cache
        )

    def at_position(
        self, token_ids: Tensor, position: Tensor, mask: Tensor | None, cache: DynamicCache
    ) -> Tensor:
        """The same with the token's position [1] given, and a mask [1, 1, 1, n] of what the cache returns."""
        residual_scale = self._sizes.residual_scale
        x = scaled(self._embed(token_ids), self._sizes.embedding_scale)  # [batch, 1, hidden]
        cos_sin = self._cos_sin(x, position)
        for layer, past in zip(self._layers, cache.layers, strict=True):
            x.add_(scaled(layer.attend(layer.before_attention(x), cos_sin, past, mask), residual_scale))
            x.add_(scaled(layer.feed(layer.before_feed(x)), residual_scale))
        logits: Tensor = self._head(self._norm(x))
        return logits if self._sizes.logits_scale == 1 else logits / self._sizes.logits_scale

    def _cos_sin(self, x: Tensor, position: Tensor) -> tuple[Tensor, Tensor]:
        """Cosine and signed sine [1, 1, 1, rotary] that rotate queries and keys at this position."""
        cosine, sine = self._rotary(x, position[None])  # [1, 1, rotary] each
        first, second = sine.chunk(2, dim=-1)
        return cosine[None], torch.cat((-first, second), dim=-1)[None]


@dataclass(frozen=True, slots=True)
class _Norm:
    """Root mean square norm of the last dimension: in float32, rounded, and then scaled."""

    norm: llama.Norm

    def __call__(self, x: Tensor) -> Tensor:
        weight, epsilon = self.norm.weight, self.norm.epsilon
        if x.numel() != weight.shape[-1] or x.is_cuda:
            return weight * F.rms_norm(x.float(), weight.shape[-1:], None, epsilon).to(x.dtype)
        length = float(torch.linalg.vector_norm(x, dtype=torch.float32))  # a single token: fewer calls
        scale = (length * length / x.numel() + epsilon) ** -0.5
        return weight * (x * scale)  # a scalar multiplies in float32


@dataclass(frozen=True, slots=True)
class _Layer:
    """One decoder layer; tensors are [batch, 1, hidden] between its parts."""

    before_attention: _Norm
    query_key_value: Linear
    before_rotation: _Norm | None
    """Of queries and keys, where a family has norms of each head."""
    out: Linear
    before_feed: _Norm
    gate_up: Linear
    down: Linear
    activate: Callable[[Tensor], Tensor]
    sizes: llama.Sizes

    @classmethod
    def build(cls, layer: llama.Layer) -> "_Layer":
        query_key_value, out, gate_up, down = (side_by_side(*group) for group in layer.groups())
        return cls(
            before_attention=_Norm(layer.attention_norm),
            query_key_value=query_key_value,
            before_rotation=_head_norm(layer),
            out=out,
            before_feed=_Norm(layer.feed_norm),
            gate_up=gate_up,
            down=down,
            activate=F.silu if isinstance(layer.activation, nn.SiLU) else layer.activation,
            sizes=layer.sizes,
        )

    def attend(
        self, x: Tensor, cos_sin: tuple[Tensor, Tensor], past: CacheLayerMixin, mask: Tensor | None
    ) -> Tensor:
        """Attention of one token to itself and to all in `past`, to which it is appended."""
        batch, heads, kv_heads, size = len(x), self.sizes.heads, self.sizes.kv_heads, self.sizes.head_size
        all_heads = self.query_key_value(x).view(batch, -1, 1, size)  # [batch, all heads, 1, size]
        query_key, value = all_heads.split((heads + kv_heads, kv_heads), dim=1)
        if self.before_rotation is not None:
            query_key = self.before_rotation(query_key)
        if self.sizes.rotary:
            query_key = rotated(query_key, cos_sin)
        query, key = query_key.split((heads, kv_heads), dim=1)
        keys, values = past.update(key, value)  # [batch, kv heads, n, size]
        rows = query.reshape(batch, kv_heads, -1, size)
        attn_out = F.scaled_dot_product_attention(rows, keys, values, mask, scale=self.sizes.scale)
        return self.out(attn_out.reshape(batch, 1, -1))

    def feed(self, x: Tensor) -> Tensor:
        """SwiGLU."""
        gate, up = self.gate_up(x).chunk(2, dim=-1)
        return self.down(self.activate(gate).mul_(up))


def _head_norm(layer: llama.Layer) -> _Norm | None:
    """One norm for all of a layer's queries and keys, with a weight for each head."""
    if layer.head_norms is None:
        return None
    query, key = layer.head_norms
    heads = [query.weight.expand(layer.sizes.heads, 1, -1), key.weight.expand(layer.sizes.kv_heads, 1, -1)]
    return _Norm(llama.Norm(torch.cat(heads), query.epsilon))


def scaled(x: Tensor, scale: float) -> Tensor:
    """x · scale; x itself where that is all."""
    return x if scale == 1 else x * scale


def rotated(x: Tensor, cos_sin: tuple[Tensor, Tensor]) -> Tensor:
    """RoPE on [batch, heads, 1, size]: halves (a, b) become (a cos - b sin, b cos + a sin).

    Of a head that is longer than cosine and sine, the first numbers alone.
    """
    cosine, sine = cos_sin
    rotary = cosine.shape[-1]
    if rotary < x.shape[-1]:
        return torch.cat((rotated(x[..., :rotary], cos_sin), x[..., rotary:]), dim=-1)
    return (x * cosine).add_(x.roll(rotary // 2, -1).mul_(sine))
