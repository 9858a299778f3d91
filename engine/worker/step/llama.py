"""Llama-like models as transformers builds them: where their parts are, for the steps and for repacking.

The one place that knows these modules' names. Owns no arithmetic.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn
from transformers import PreTrainedModel


@dataclass(frozen=True, slots=True)
class Norm:
    """A root mean square norm."""

    weight: Tensor
    """[hidden]."""
    epsilon: float


@dataclass(frozen=True, slots=True)
class Sizes:
    """Numbers that all layers share."""

    hidden: int
    inner: int
    """SwiGLU's width."""
    heads: int
    kv_heads: int
    head_size: int
    scale: float
    """Of the attention's scores."""


@dataclass(frozen=True, slots=True)
class Layer:
    """One decoder layer, as its modules are now."""

    attention: nn.Module
    mlp: nn.Module
    attention_norm: Norm
    feed_norm: Norm

    @property
    def head_norms(self) -> tuple[Norm, Norm] | None:
        """Of each head's query and key, where the family has them."""
        query, key = (getattr(self.attention, f"{name}_norm", None) for name in "qk")
        return None if query is None or key is None else (_norm(query), _norm(key))

    @property
    def linear(self) -> dict[str, nn.Module]:
        """Its linear layers by what they compute."""
        return {name: getattr(parent, own) for _, parent, own, name in self._places()}

    @property
    def activation(self) -> nn.Module:
        """Of the gate."""
        found: nn.Module = self.mlp.act_fn
        return found

    def shared_inputs(self) -> Iterator[tuple[nn.Module, tuple[str, ...]]]:
        """Linear layers that read the same input: the module that has them, and their names there."""
        groups: dict[int, tuple[nn.Module, tuple[str, ...]]] = {}
        for group, parent, own, _ in self._places():
            groups[group] = (parent, (*groups.get(group, (parent, ()))[1], own))
        yield from groups.values()

    def _places(self) -> Iterator[tuple[int, nn.Module, str, str]]:
        """Each linear layer's group of the same input, parent, name there, and name here."""
        for group, name in ((0, "query"), (0, "key"), (0, "value"), (1, "out")):
            yield group, self.attention, f"{name[0]}_proj", name
        for group, name in ((2, "gate"), (2, "up"), (3, "down")):
            yield group, self.mlp, f"{name}_proj", name


def layers_of(model: PreTrainedModel) -> list[Layer]:
    """The decoder layers, first to last."""
    return [
        Layer(each.self_attn, each.mlp, _norm(each.input_layernorm), _norm(each.post_attention_layernorm))
        for each in model.model.layers
    ]


def last_norm(model: PreTrainedModel) -> Norm:
    """The norm before the output head."""
    return _norm(model.model.norm)


def rotary_of(model: PreTrainedModel) -> nn.Module:
    """(x, positions [batch, 1]) to cosine and sine [batch, 1, head size]."""
    found: nn.Module = model.model.rotary_emb
    return found


def sizes_of(model: PreTrainedModel) -> Sizes:
    """Out of the config, and the first layer."""
    config, attention = model.config, model.model.layers[0].self_attn
    return Sizes(
        hidden=config.hidden_size,
        inner=config.intermediate_size,
        heads=config.num_attention_heads,
        kv_heads=config.num_key_value_heads,
        head_size=attention.head_dim,
        scale=attention.scaling,
    )


def _norm(module: Any) -> Norm:
    return Norm(module.weight.detach(), module.variance_epsilon)  # a parameter may get other memory
