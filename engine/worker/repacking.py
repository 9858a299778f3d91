"""Which layers of a Llama-like model are packed for decoding, and that nothing but speed changes by it.

Owns the choice. The kernels' own modules say what they can pack; what they cannot stays as it is.
"""

from collections.abc import Callable, Sequence

import torch
from torch import nn
from transformers import PreTrainedModel

from engine.worker import leftovers, packed_bf16, packed_int4, packed_nf4, packed_table
from engine.worker.packed_bf16 import PackedBf16
from engine.worker.packed_linear import Packed, PackedLinear

Packer = Callable[[Sequence[nn.Module]], Packed | None]
_QUANTIZED: Sequence[Packer] = (packed_nf4.packed, packed_int4.packed)


@torch.inference_mode()
def pack(model: PreTrainedModel) -> None:
    """Pack a model that has run once, matrix by matrix, so that little memory is needed twice."""
    for layer in model.model.layers:
        _replace(layer.self_attn, "q_proj", "k_proj", "v_proj")
        _replace(layer.self_attn, "o_proj")
        _replace(layer.mlp, "gate_proj", "up_proj")
        _replace(layer.mlp, "down_proj")
    if model.lm_head.weight is model.get_input_embeddings().weight:
        _replace_table(model)
    else:
        _replace(model, "lm_head")


def _replace(parent: nn.Module, *names: str) -> None:
    """Pack these layers of a module as one, or else each of them that can be packed."""
    layers = [getattr(parent, name) for name in names]
    packed = _packed(layers)
    if packed is None:
        for name in names if len(names) > 1 else ():
            _replace(parent, name)
        return
    leftovers.forget([layer.weight for layer in layers if type(layer) is nn.Linear])
    first = 0
    for name, layer in zip(names, layers, strict=True):
        setattr(parent, name, PackedLinear(packed, first, layer.in_features, layer.out_features))
        first += layer.out_features


def _packed(layers: Sequence[nn.Module]) -> Packed | None:
    if len({layer.bias is None for layer in layers}) > 1:
        return None
    if plain := packed_bf16.packed(layers):
        return plain
    found = next((packed for packer in _QUANTIZED if (packed := packer(layers))), None)
    return found if found and _agrees(found, layers) else None


def _agrees(packed: Packed, layers: Sequence[nn.Module]) -> bool:
    """Whether a packed product has the bits that the layers compute, for a row and for several."""
    for rows in (1, 3):
        x = torch.randn((1, rows, int(layers[0].in_features)), dtype=torch.bfloat16)
        if not torch.equal(packed.product(x), torch.cat([layer(x) for layer in layers], dim=-1)):
            return False
    return True


def _replace_table(model: PreTrainedModel) -> None:
    """Pack a head that the embedding reads too, where single rows can be read from what was packed."""
    head, table = model.lm_head, model.get_input_embeddings()
    packed = packed_bf16.packed([head]) if type(table) is nn.Embedding else None
    if not isinstance(packed, PackedBf16):
        return
    if embedding := packed_table.of(packed, table.weight.detach()):
        leftovers.forget([table.weight.detach()])
        model.set_input_embeddings(embedding)
        model.lm_head = PackedLinear(packed, 0, head.in_features, head.out_features)
