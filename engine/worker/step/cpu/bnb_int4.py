"""bitsandbytes' 4-bit layers, unpacked from the layout that it gives them on a CPU.

Owns that layout, which is not a public interface: the caller compares the result's matmul with the
layer's own. Knows nothing of models.
"""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from engine.config.runtime import fits_int4
from engine.worker.step.cpu.int4 import Int4Layers

_ROWS = 32  # in a block
_HALF = _ROWS // 2


def unpack(layers: Sequence[nn.Module]) -> Int4Layers | None:
    """These layers as one, where all are bitsandbytes' and have run once, which packs them for the CPU."""
    if not all(supports(layer) for layer in layers):
        return None
    states: list[Any] = [layer.weight.quant_state for layer in layers]
    if len({(state.quant_type, state.blocksize, state.shape[1]) for state in states}) > 1:
        return None
    biases = [layer.bias.detach().to(torch.bfloat16) for layer in layers if layer.bias is not None]
    return Int4Layers(
        int4=torch.cat([_unpacked(layer.weight) for layer in layers]),
        scales=torch.cat([state.absmax.t() for state in states]),
        zeros=None,
        code_book=tuple(states[0].code.tolist()),
        bias=torch.cat(biases) if biases else None,
    )


def supports(layer: Any) -> bool:
    """Whether it is bitsandbytes', its weights are in the CPU's layout, and its arithmetic is bf16."""
    if type(layer).__name__ != "Linear4bit":
        return False
    state = getattr(layer.weight, "quant_state", None)
    is_packed = getattr(state, "packing_format_for_cpu", False) and layer.weight.dtype == torch.uint8
    if not is_packed or layer.compute_dtype != torch.bfloat16 or state is None:
        return False
    rows, columns = state.shape
    return rows % _ROWS == 0 and fits_int4(rows, columns, state.blocksize)


def _unpacked(weight: Any) -> Tensor:
    """uint8 [rows, columns]. In 32 rows a byte has two weights 16 rows apart; two columns are 32 bytes."""
    rows, columns = weight.quant_state.shape
    packed = weight.data.view(rows // _ROWS, columns // 2, _HALF, 2)
    halves = torch.stack((packed & 15, packed >> 4), dim=1)  # [rows / 32, 2, columns / 2, 16, 2]
    return halves.transpose(2, 3).reshape(rows, columns)
