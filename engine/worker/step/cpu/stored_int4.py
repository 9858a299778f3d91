"""GPTQModel's layers of 2 to 4 bits for which CPUs have no kernel, as the engine's own int4.

Owns which of them fit. Knows nothing of models.
"""

from collections.abc import Sequence
from typing import Any

import torch
from torch import nn

from engine.config.runtime import fits_int4
from engine.worker.step import gptq
from engine.worker.step.cpu.int4 import Int4Layers


def unpack(layers: Sequence[nn.Module]) -> Int4Layers | None:
    """These layers as one; None where one is not such a layer, or has its inputs in another order."""
    if not all(supports(layer) for layer in layers):
        return None
    found = [gptq.codes_of(layer) for layer in layers]
    if any(each.order is not None for each in found):
        return None
    zeros = [torch.zeros_like(each.scales) if each.zeros is None else each.zeros for each in found]
    biases = [layer.bias.detach().to(torch.bfloat16) for layer in layers if layer.bias is not None]
    return Int4Layers(
        int4=torch.cat([each.int4 for each in found]),
        scales=torch.cat([each.scales for each in found]),
        zeros=None if all(each.zeros is None for each in found) else torch.cat(zeros),
        code_book=tuple(float(code) for code in range(-gptq.MIDDLE, gptq.MIDDLE)),
        bias=torch.cat(biases) if biases else None,
    )


def supports(layer: Any) -> bool:
    """Whether it is GPTQModel's, unpacked for every matmul, and fits the engine's layout."""
    return gptq.is_readable(layer) and fits_int4(layer.out_features, layer.in_features, gptq.group_of(layer))
