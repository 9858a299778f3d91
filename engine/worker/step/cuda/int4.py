"""Weights of 2 to 4 bits as the engine's kernels hold them on a GPU: four bits each, a scale a group.

Owns that layout: `packed` makes it out of whole numbers, `Int4Linear` is the layer, which serves prompts by
dequantizing a matrix at a time. GPTQModel's layers are read through their own dequantization with scales of
1, so that no packing has to be known here. Knows nothing of models.
"""

from typing import Any

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn

from engine.worker.step.cuda.kernels.matrix import Matrix

_KEPT = ("TorchLinear", "AwqTorchLinear")
_MIDDLE = 8  # of four bits: stands for 0


class Int4Linear(nn.Module):
    """y = x Wᵀ + b: W[n, k] = (int4 − 8) · scale + zero, groups of consecutive columns in `order`."""

    kernel_name = "Int4Linear"

    def __init__(self, matrix: Matrix, in_features: int, group: int) -> None:
        super().__init__()
        self.matrix, self.in_features, self.out_features, self.group = matrix, in_features, matrix.rows, group

    def held_tensors(self) -> tuple[Tensor, ...]:
        """All tensors of the matrix."""
        return tuple(each for each in self.matrix if isinstance(each, Tensor))

    def forward(self, x: Tensor) -> Tensor:
        """[..., in_features] → [..., out_features], with weights dequantized to x's dtype."""
        if self.matrix.order is not None:
            x = x[..., self.matrix.order.long()]
        return F.linear(x, self.dequantized(x.dtype), self.matrix.bias)

    def dequantized(self, dtype: torch.dtype) -> Tensor:
        """[rows, columns], columns in the order in which they are held."""
        held = self.matrix.weights
        int4 = torch.stack((held >> 4, held & 15), dim=-1).view(self.out_features, -1)
        group = torch.arange(self.in_features, device=held.device) // self.group
        weight = (int4.to(dtype) - _MIDDLE) * self.matrix.scales[:, group].to(dtype)
        return weight if self.matrix.zeros is None else weight + self.matrix.zeros[:, group].to(dtype)


def of_gptqmodel(layer: Any) -> Int4Linear | None:
    """Of a layer of GPTQModel's that keeps its checkpoint's layout (TorchLinear, AwqTorchLinear); or None."""
    if (
        type(layer).__name__ not in _KEPT
        or layer.adapter
        or layer.bits not in {2, 3, 4}
        or layer.in_features % 2
    ):
        return None
    group = layer.in_features if layer.group_size in {-1, None} else layer.group_size
    codes, order = _codes(layer, group)
    lowest = _lowest(codes, group)
    scales = _in_rows(layer.scales)
    zeros = None if bool((lowest == -_MIDDLE).all()) else scales * (lowest + _MIDDLE)
    groups = torch.arange(layer.in_features, device=codes.device) // group
    bias = None if layer.bias is None else layer.bias.detach()
    matrix = Matrix(
        packed(codes - lowest[:, groups]), len(codes), bias, scales=scales, zeros=zeros, order=order
    )
    return Int4Linear(matrix, layer.in_features, group)


def packed(int4: Tensor) -> Tensor:
    """0 to 15, [rows, columns], to bytes [rows, columns / 2]: column 2j in the high four bits of byte j."""
    return (int4[:, ::2] << 4 | int4[:, 1::2]).to(torch.uint8)


def _codes(layer: Any, group: int) -> tuple[Tensor, Tensor | None]:
    """Whole numbers [rows, columns] less their zero points, in groups of consecutive columns; their order."""
    codes = _unscaled(layer).T.round().to(torch.int32)
    groups = getattr(layer, "g_idx", None)
    plain = torch.arange(layer.in_features, device=codes.device) // group
    if groups is None or not groups.numel() or torch.equal(groups.to(plain), plain):
        return codes.contiguous(), None
    order = groups.long().argsort(stable=True)
    return codes[:, order].contiguous(), order.int()


def _unscaled(layer: Any) -> Tensor:
    """Weights [columns, rows] with scales of 1, by the library's own unpacking."""
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


def _lowest(codes: Tensor, group: int) -> Tensor:
    """The number that each group's 0 stands for, [rows, groups]: −8 where that does for all of them."""
    rows, columns = codes.shape
    whole = -(-columns // group) * group
    filled = F.pad(codes, (0, whole - columns), value=0).view(rows, -1, group)
    least, most = filled.amin(-1), filled.amax(-1)
    fits = bool((least >= -_MIDDLE).all() and (most < _MIDDLE).all())
    return torch.full_like(least, -_MIDDLE) if fits else least


def _in_rows(scales: Tensor) -> Tensor:
    return scales.detach().T.contiguous()
