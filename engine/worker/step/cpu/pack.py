"""Which layers of a Llama-like model are packed for decoding, and that nothing but speed changes by it.

Owns the choice. The kernels' own modules say what they can pack; what they cannot stays as it is.
"""

from collections.abc import Callable, Sequence

import torch
from torch import nn
from transformers import PreTrainedModel

from engine.protocol import Staged
from engine.worker.host import freeing
from engine.worker.progress import Report
from engine.worker.step import llama
from engine.worker.step.cpu import (
    aten_int4,
    bf16_table,
    bnb_int4,
    compile,
    compiled_step,
    model_table,
    onednn,
)
from engine.worker.step.cpu.int4 import Nibbles, PackedNibbles
from engine.worker.step.cpu.onednn import PackedBf16
from engine.worker.step.linear import Packed, PackedLinear

Packer = Callable[[Sequence[nn.Module]], Packed | None]
_READERS: Sequence[Callable[[Sequence[nn.Module]], Nibbles | None]] = (
    bnb_int4.of,
    aten_int4.nibbles,
)
CLOSE = 0.02  # of the largest result: how far the same weights' products are apart that are rounded elsewhere


@torch.inference_mode()
def pack(model: PreTrainedModel, report: Report) -> None:
    """Pack a model that has run once, matrix by matrix, so that little memory is needed twice."""
    if compile.is_first_time():
        report(Staged(stage="warm up", step="compile decode step"))
    if compiled_step.computes(model) and _can_be_read(model) and compile.has_vectors():
        _pack_layers(model, _as_nibbles)
    if not compiled_step.is_possible(model):
        _pack_layers(model, _as_products)
        if model.lm_head.weight is model.get_input_embeddings().weight:
            _replace_table(model)
        else:
            _replace(model, _as_products, "lm_head")


def _can_be_read(model: PreTrainedModel) -> bool:
    """Whether each layer has 4-bit weights in a known layout, or plain ones."""
    suited = (bnb_int4.suits, aten_int4.suits_nibbles, model_table.is_readable)
    linear = [each for layer in llama.layers_of(model) for each in layer.linear.values()]
    return all(any(suits(each) for suits in suited) for each in linear)


def _pack_layers(model: PreTrainedModel, packer: Packer) -> None:
    for layer in llama.layers_of(model):
        for parent, names in layer.shared_inputs():
            _replace(parent, packer, *names)
        freeing.trim()  # most of what was given up are small blocks


def _replace(parent: nn.Module, packer: Packer, *names: str) -> None:
    """Pack these layers of a module as one, or else each of them that can be packed."""
    layers = [getattr(parent, name) for name in names]
    packed = packer(layers) if len({layer.bias is None for layer in layers}) == 1 else None
    if packed is None:
        for name in names if len(names) > 1 else ():
            _replace(parent, packer, name)
        return
    freeing.forget([layer.weight for layer in layers if type(layer) is nn.Linear])
    first = 0
    for name, layer in zip(names, layers, strict=True):
        setattr(parent, name, PackedLinear(packed, first, layer.in_features, layer.out_features))
        first += layer.out_features
        _let_go(layer)


def _let_go(layer: nn.Module) -> None:
    """Its tensors, now: bitsandbytes' weights and their layer hold one another."""
    layer._parameters.clear()
    layer._buffers.clear()


def _as_nibbles(layers: Sequence[nn.Module]) -> Packed | None:
    """For the compiled step."""
    widths = tuple(int(layer.out_features) for layer in layers)
    given = next((nibbles for read in _READERS if (nibbles := read(layers))), None)
    packed = PackedNibbles(widths, given) if given else None
    return packed if packed and _difference(packed, layers) < CLOSE else None


def _as_products(layers: Sequence[nn.Module]) -> Packed | None:
    """For the native step: a quantized product must have the layers' own bits."""
    if plain := onednn.packed(layers):
        return plain
    packed = aten_int4.packed(layers)
    return packed if packed and not _difference(packed, layers) else None


def _difference(packed: Packed, layers: Sequence[nn.Module]) -> float:
    """How far a packed product is from what the layers compute, of the largest result; a row and several."""
    found = 0.0
    for rows in (1, 3):
        x = torch.randn((1, rows, int(layers[0].in_features)), dtype=torch.bfloat16)
        theirs = torch.cat([layer(x) for layer in layers], dim=-1).float()
        found = max(found, float((packed.product(x).float() - theirs).abs().max() / theirs.abs().max()))
    return found


def _replace_table(model: PreTrainedModel) -> None:
    """Pack a head that the embedding reads too, where single rows can be read from what was packed."""
    head, table = model.lm_head, model.get_input_embeddings()
    packed = onednn.packed([head]) if type(table) is nn.Embedding else None
    if not isinstance(packed, PackedBf16):
        return
    if embedding := bf16_table.of(packed, table.weight.detach()):
        freeing.forget([table.weight.detach()])
        model.set_input_embeddings(embedding)
        model.lm_head = PackedLinear(packed, 0, head.in_features, head.out_features)
