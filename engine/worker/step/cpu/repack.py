"""Which layers of a Llama-like model are fused and repacked for decoding, so that only speed changes.

Owns the choice. The kernels' own modules say which layers they support; others stay as they are.
"""

from collections.abc import Callable, Sequence

import torch
from torch import nn
from transformers import PreTrainedModel

from engine.protocol.loading import Staged
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
    stored_int4,
)
from engine.worker.step.cpu.int4 import Int4Layers, Int4Weights
from engine.worker.step.cpu.onednn import OneDnnWeights
from engine.worker.step.linear import FusedLinear, FusedWeights

Fuse = Callable[[Sequence[nn.Module]], FusedWeights | None]
_UNPACKERS: Sequence[Callable[[Sequence[nn.Module]], Int4Layers | None]] = (
    bnb_int4.unpack,
    aten_int4.unpack,
    stored_int4.unpack,
)
CLOSE = 0.02  # of the largest result: how far matmuls with other rounding may differ


@torch.inference_mode()
def repack(model: PreTrainedModel, report: Report, *, compiles: bool = True) -> None:
    """Repack a model that has run once, matrix by matrix, so that little memory is needed twice.

    For the compiled step where it `compiles`, which others cannot do without; else for the native one.
    """
    if compiles and compile.is_first_time():
        report(Staged(stage="warm up", step="compile decode step"))
    if (
        compiles
        and compiled_step.supports_arithmetic(model)
        and _has_known_layouts(model)
        and compile.has_vectors()
    ):
        _fuse_layers(model, _as_int4)
    if not (compiles and compiled_step.supports(model)) or compile.kernels() is None:
        _fuse_layers(model, _for_native_step)
        if model.lm_head.weight is model.get_input_embeddings().weight:
            _replace_table(model)
        else:
            _replace(model, _for_native_step, "lm_head")


def _has_known_layouts(model: PreTrainedModel) -> bool:
    """Whether each layer has 4-bit weights in a known layout, or plain ones."""
    checks = (bnb_int4.supports, aten_int4.supports, stored_int4.supports, model_table.supports)
    linear = [each for layer in llama.layers_of(model) for group in layer.groups() for each in group]
    return all(any(supports(each) for supports in checks) for each in linear)


def _fuse_layers(model: PreTrainedModel, fuse: Fuse) -> None:
    for layer in llama.layers_of(model):
        for parent, names in layer.shared_inputs():
            _replace(parent, fuse, *names)
        freeing.trim()  # most of what was freed are small blocks


def _replace(parent: nn.Module, fuse: Fuse, *names: str) -> None:
    """Fuse these layers of a module, or else replace each of them that is supported alone, and is not yet."""
    names = tuple(name for name in names if not isinstance(getattr(parent, name), FusedLinear))
    layers = [getattr(parent, name) for name in names]
    fused = fuse(layers) if len({layer.bias is None for layer in layers}) == 1 else None
    if fused is None:
        for name in names if len(names) > 1 else ():
            _replace(parent, fuse, name)
        return
    freeing.forget([layer.weight for layer in layers if type(layer) is nn.Linear])
    first = 0
    for name, layer in zip(names, layers, strict=True):
        setattr(parent, name, FusedLinear(fused, first, layer.in_features, layer.out_features))
        first += layer.out_features
        _free(layer)


def _free(layer: nn.Module) -> None:
    """Drop its tensors now: bitsandbytes' weights and their layer reference each other."""
    layer._parameters.clear()
    layer._buffers.clear()


def _as_int4(layers: Sequence[nn.Module]) -> FusedWeights | None:
    """For the compiled step."""
    widths = tuple(int(layer.out_features) for layer in layers)
    given = next((found for unpack in _UNPACKERS if (found := unpack(layers))), None)
    fused = Int4Weights(widths, given) if given else None
    return fused if fused and _agrees(fused, layers, CLOSE) else None


def _for_native_step(layers: Sequence[nn.Module]) -> FusedWeights | None:
    """For the native step: a quantized matmul must give exactly the layers' own results."""
    if plain := onednn.fuse(layers):
        return plain
    fused = aten_int4.fuse(layers)
    return fused if fused and _agrees(fused, layers, 0) else None


def _agrees(fused: FusedWeights, layers: Sequence[nn.Module], within: float) -> bool:
    """Whether it gives the layers' own results, within this share of the largest; never where one is NaN."""
    for rows in fused.tried_rows:
        x = torch.randn((1, rows, int(layers[0].in_features)), dtype=torch.bfloat16)
        theirs = torch.cat([layer(x) for layer in layers], dim=-1).float()
        difference = (fused.matmul(x).float() - theirs).abs().max()
        if not bool(difference <= within * theirs.abs().max()):
            return False
    return True


def _replace_table(model: PreTrainedModel) -> None:
    """Repack a head that is also the embedding, where single rows can be read from oneDNN's layout."""
    head, table = model.lm_head, model.get_input_embeddings()
    weights = onednn.fuse([head]) if type(table) is nn.Embedding else None
    if not isinstance(weights, OneDnnWeights):
        return
    if embedding := bf16_table.embedding(weights, table.weight.detach()):
        freeing.forget([table.weight.detach()])
        model.set_input_embeddings(embedding)
        model.lm_head = FusedLinear(weights, 0, head.in_features, head.out_features)
