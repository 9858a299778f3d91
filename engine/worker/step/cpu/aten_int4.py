"""GPTQModel's 4-bit layers on ATen's int4 matmul: called without its module, or unpacked from ATen's layout.

Owns the call and the layout. The module reorders its input in every call, even where the order is the
plain one. Knows nothing of models.
"""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from engine.config.runtime import fits_int4
from engine.worker.step.cpu.int4 import Int4Layers
from engine.worker.step.linear import FusedWeights

_NAMES = ("TorchAtenLinear", "TorchAtenAwqLinear")
_BLOCK = 64  # rows that the layout interleaves: layers of other heights cannot be fused

_int4_matmul = torch.ops.aten._weight_int4pack_mm_for_cpu.default


def fuse(layers: Sequence[nn.Module]) -> FusedWeights | None:
    """These layers as one, where all of them run on ATen's matmul, and have run once, which packs them."""
    if not all(type(layer).__name__ in _NAMES and _runs_on_aten(layer) for layer in layers):
        return None
    orders = [_order(layer) for layer in layers]
    if len(layers) > 1 and not all(_alike(orders[0], order) for order in orders):
        return None
    return AtenInt4Weights(layers, orders[0])


def unpack(layers: Sequence[nn.Module]) -> Int4Layers | None:
    """These layers as one, out of ATen's layout for CPUs with AVX512; None where one is not supported."""
    if not all(supports(layer) for layer in layers):
        return None
    scales_and_zeros = torch.cat([_column_groups(layer) for layer in layers])  # [rows, groups, 2]
    biases = [layer.bias.detach().to(torch.bfloat16) for layer in layers if layer.bias is not None]
    return Int4Layers(
        int4=torch.cat([_unpacked(layer.qweight, layer.in_features) for layer in layers]),
        scales=scales_and_zeros[..., 0],
        zeros=scales_and_zeros[..., 1],
        code_book=tuple(float(code) for code in range(-8, 8)),
        bias=torch.cat(biases) if biases else None,
    )


def supports(layer: Any) -> bool:
    """Whether it is GPTQModel's, on ATen's matmul, and has its inputs in the plain order."""
    if type(layer).__name__ not in _NAMES or not _runs_on_aten(layer) or _order(layer) is not None:
        return False
    return fits_int4(layer.out_features, layer.in_features, layer.group_size)


def _column_groups(layer: Any) -> Tensor:
    scales: Tensor = layer.scales_and_zeros
    return scales.transpose(0, 1)


def _unpacked(packed: Tensor, columns: int) -> Tensor:
    """uint8 [rows, columns]. Of 64 rows a byte has two weights 32 rows apart, and a column is 32 bytes."""
    blocks = packed.view(-1, columns, _BLOCK // 2)
    halves = torch.stack((blocks & 15, blocks >> 4), dim=1)  # [rows / 64, 2, columns, 32]
    return halves.transpose(2, 3).reshape(-1, columns)


def _runs_on_aten(layer: Any) -> bool:
    return (
        getattr(layer, "linear_mode", None) == "inference"
        and not layer.adapter
        and layer.out_features % _BLOCK == 0
    )


def _order(layer: Any) -> Tensor | None:
    """How the input is reordered; None for the plain order."""
    order = getattr(layer, "ret_idx", None)
    if order is None or torch.equal(order, torch.arange(len(order), dtype=order.dtype)):
        return None
    return order if isinstance(order, Tensor) else None


def _alike(a: Tensor | None, b: Tensor | None) -> bool:
    return a is b if a is None or b is None else torch.equal(a, b)


class AtenInt4Weights(FusedWeights):
    """Packed int4 [sum of out_features, in_features / 2]; scales and zeros [groups, …, 2]."""

    def __init__(self, layers: Sequence[Any], order: Tensor | None) -> None:
        super().__init__(tuple(layer.out_features for layer in layers))
        self.kernel = type(layers[0]).__name__
        self._weights = torch.cat([layer.qweight for layer in layers])
        self._scales = torch.cat([layer.scales_and_zeros for layer in layers], dim=1).contiguous()
        self._group, self._columns, self._order = layers[0].group_size, layers[0].in_features, order
        biases = [layer.bias.detach() for layer in layers if layer.bias is not None]
        self.bias = torch.cat(biases) if biases else None
        held = (self._weights, self._scales, self.bias, order)
        self.tensors = tuple(tensor for tensor in held if tensor is not None)

    def matmul(self, x: Tensor) -> Tensor:
        """In bf16, as the module computes."""
        rows = x.reshape(-1, self._columns).to(torch.bfloat16)
        rows = rows.contiguous() if self._order is None else rows[:, self._order].contiguous()
        y: Tensor = _int4_matmul(rows, self._weights, self._group, self._scales)
        y = y.to(x.dtype).view(*x.shape[:-1], -1)
        return y if self.bias is None else y.add_(self.bias)
