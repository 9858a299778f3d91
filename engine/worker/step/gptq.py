"""GPTQModel's layers of 2 to 4 bits that keep their checkpoint's layout, as whole numbers of four bits.

They are read through the library's own dequantization with scales of 1, so that no packing has to be known
here. Owns nothing else: how a step holds the numbers is its own business. Knows nothing of models.
"""

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from engine.config.layouts import INT4_BITS

MIDDLE = 8  # of four bits: stands for 0
_LAYERS = ("TorchLinear", "AwqTorchLinear")


@dataclass(frozen=True, slots=True)
class Codes:
    """weight[n, k] = (int4 − 8) · scale + zero, of columns in `order`."""

    int4: Tensor
    """uint8 [rows, columns], 0 to 15."""
    scales: Tensor
    """[rows, groups], a group being consecutive columns."""
    zeros: Tensor | None
    """The same, or none."""
    order: Tensor | None
    """int32 [columns]: the input of each column; None is the plain order."""
    group: int


def is_readable(layer: Any) -> bool:
    """Whether `codes_of` can read this layer."""
    return type(layer).__name__ in _LAYERS and not layer.adapter and layer.bits in INT4_BITS


def group_of(layer: Any) -> int:
    """Columns that share a scale."""
    return int(layer.in_features if layer.group_size in {-1, None} else layer.group_size)


def codes_of(layer: Any) -> Codes:
    """What a layer that `is_readable` holds."""
    group = group_of(layer)
    numbers, order = _numbers(layer, group)
    lowest = _lowest(numbers, group)
    scales: Tensor = layer.scales.detach().T.contiguous()
    zeros = None if bool((lowest == -MIDDLE).all()) else scales * (lowest + MIDDLE)
    groups = torch.arange(layer.in_features, device=numbers.device) // group
    int4 = (numbers - lowest[:, groups]).to(torch.uint8)
    return Codes(int4, scales, zeros, order, group)


def _numbers(layer: Any, group: int) -> tuple[Tensor, Tensor | None]:
    """Whole numbers [rows, columns] less their zero points, in groups of consecutive columns; their order."""
    numbers = _unscaled(layer).T.round().to(torch.int32)
    groups = getattr(layer, "g_idx", None)
    plain = torch.arange(layer.in_features, device=numbers.device) // group
    if groups is None or not groups.numel() or torch.equal(groups.to(plain), plain):
        return numbers.contiguous(), None
    order = groups.long().argsort(stable=True)
    return numbers[:, order].contiguous(), order.int()


def _unscaled(layer: Any) -> Tensor:
    """Weights [columns, rows] with scales of 1."""
    scales, ones = layer.scales, torch.ones_like(layer.scales)
    if type(layer).__name__ == "AwqTorchLinear":
        from gptqmodel.nn_modules.qlinear.torch_awq import dequantize_gemm

        packed = {"qweight": layer.qweight, "qzeros": layer.qzeros, "scales": ones}
        found: Tensor = dequantize_gemm(**packed, bits=layer.bits, group_size=layer.group_size)
        return found
    try:
        layer.scales = ones
        found = layer.dequantize_weight()
    finally:
        layer.scales = scales
    return found


def _lowest(numbers: Tensor, group: int) -> Tensor:
    """The number that each group's 0 stands for, [rows, groups]: −8 where that does for all of them."""
    rows, columns = numbers.shape
    places = torch.arange(-(-columns // group) * group, device=numbers.device).clamp(max=columns - 1)
    grouped = numbers[:, places].view(rows, -1, group)
    least, most = grouped.amin(-1), grouped.amax(-1)
    fits = bool((least >= -MIDDLE).all() and (most < MIDDLE).all())
    return torch.full_like(least, -MIDDLE) if fits else least
