"""Llama-like models as transformers builds them: where their parts are, for the steps and for repacking.

The one place that knows these modules' names, and what a family does besides: norms of each head's query and
key (Qwen3), q k v and gate up in one layer each, RoPE on a part of each head (Phi-3), layers without RoPE
(SmolLM3), numbers that scale embeddings, residuals and logits (Granite). Owns no arithmetic.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import accumulate
from typing import Any

from torch import Tensor, nn
from transformers import PreTrainedModel


@dataclass(frozen=True, slots=True)
class Norm:
    """A root mean square norm."""

    weight: Tensor
    """[hidden], or [head size]."""
    epsilon: float


@dataclass(frozen=True, slots=True)
class Sizes:
    """Numbers that all layers share, but for `rotary`, which may be 0 in some."""

    hidden: int
    inner: int
    """SwiGLU's width."""
    heads: int
    kv_heads: int
    head_size: int
    rotary: int
    """The first numbers of a head, which RoPE rotates."""
    scale: float
    """Of the attention's scores."""
    embedding_scale: float
    residual_scale: float
    """Of what a layer adds."""
    logits_scale: float
    """That logits are divided by."""


@dataclass(frozen=True, slots=True)
class Rows:
    """Rows of a linear layer, or all of them."""

    module: Any
    first: int
    count: int


@dataclass(frozen=True, slots=True)
class Layer:
    """One decoder layer, as its modules are now."""

    attention: nn.Module
    mlp: nn.Module
    attention_norm: Norm
    feed_norm: Norm
    sizes: Sizes

    @property
    def head_norms(self) -> tuple[Norm, Norm] | None:
        """Of each head's query and key, where the family has them."""
        query, key = (getattr(self.attention, f"{name}_norm", None) for name in "qk")
        return None if query is None or key is None else (_norm(query), _norm(key))

    @property
    def linear(self) -> dict[str, Rows]:
        """Its matrices by what they compute."""
        query_key_value, out, gate_up, down = self.groups()
        heads, kv_heads, size = self.sizes.heads, self.sizes.kv_heads, self.sizes.head_size
        of_heads = {"query": heads * size, "key": kv_heads * size, "value": kv_heads * size}
        of_mlp = {"gate": self.sizes.inner, "up": self.sizes.inner}
        hidden = self.sizes.hidden
        return {
            **_side_by_side(query_key_value, of_heads),
            **_side_by_side(out, {"out": hidden}),
            **_side_by_side(gate_up, of_mlp),
            **_side_by_side(down, {"down": hidden}),
        }

    @property
    def activation(self) -> nn.Module:
        """Of the gate."""
        mlp: Any = self.mlp
        found: nn.Module = mlp.act_fn if hasattr(mlp, "act_fn") else mlp.activation_fn
        return found

    def groups(self) -> list[tuple[nn.Module, ...]]:
        """Linear layers that read the same input, side by side: q k v, out, gate up, down."""
        return [tuple(getattr(parent, name) for name in names) for parent, names in self.shared_inputs()]

    def shared_inputs(self) -> Iterator[tuple[nn.Module, tuple[str, ...]]]:
        """The same four groups: the module that has them, and their names there."""
        for parent, whole, parts in (
            (self.attention, "qkv_proj", ("q_proj", "k_proj", "v_proj")),
            (self.attention, "o_proj", ()),
            (self.mlp, "gate_up_proj", ("gate_proj", "up_proj")),
            (self.mlp, "down_proj", ()),
        ):
            yield parent, (whole,) if hasattr(parent, whole) else parts


def _side_by_side(modules: Sequence[nn.Module], counts: dict[str, int]) -> dict[str, Rows]:
    """Rows of these layers: a layer for each name, or all in one."""
    if len(modules) == len(counts):
        return {name: Rows(each, 0, counts[name]) for name, each in zip(counts, modules, strict=True)}
    ends = accumulate(counts.values())
    return {
        name: Rows(modules[0], end - counts[name], counts[name])
        for name, end in zip(counts, ends, strict=True)
    }


def layers_of(model: PreTrainedModel) -> list[Layer]:
    """The decoder layers, first to last."""
    sizes = sizes_of(model)
    return [_layer(each, sizes) for each in model.model.layers]


def _layer(found: Any, sizes: Sizes) -> Layer:
    before = _norm(found.input_layernorm), _norm(found.post_attention_layernorm)
    rotates = getattr(found.self_attn, "use_rope", True)
    return Layer(found.self_attn, found.mlp, *before, sizes if rotates else replace(sizes, rotary=0))


def last_norm(model: PreTrainedModel) -> Norm:
    """The norm before the output head."""
    return _norm(model.model.norm)


def rotary_of(model: PreTrainedModel) -> nn.Module:
    """(x, positions [batch, 1]) to cosine and sine [batch, 1, rotary]."""
    found: nn.Module = model.model.rotary_emb
    return found


def sizes_of(model: PreTrainedModel) -> Sizes:
    """Out of the config, and the first layer."""
    config, attention = model.config, model.model.layers[0].self_attn
    scales = {
        "embedding_scale": getattr(config, "embedding_multiplier", 1.0),
        "residual_scale": getattr(config, "residual_multiplier", 1.0),
        "logits_scale": getattr(config, "logits_scaling", 1.0),
    }
    return Sizes(
        hidden=config.hidden_size,
        inner=config.intermediate_size,
        heads=config.num_attention_heads,
        kv_heads=config.num_key_value_heads,
        head_size=attention.head_dim,
        rotary=2 * len(model.model.rotary_emb.inv_freq),
        scale=attention.scaling,
        **scales,
    )


def _norm(module: Any) -> Norm:
    return Norm(module.weight.detach(), module.variance_epsilon)  # a parameter may get other memory
