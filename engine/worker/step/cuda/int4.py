"""Weights of 2 to 4 bits as the engine's kernels hold them on a GPU: four bits each, a scale a group.

Owns that layout: `packed` makes it out of whole numbers, `Int4Linear` is the layer, which multiplies with the
kernel that it was given for so many rows, or by torch's operators. Knows nothing of models.
"""

from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn

from engine.worker.step import gptq
from engine.worker.step.cuda import many
from engine.worker.step.cuda.kernels.matrix import Matrix

MOST_SEQUENCES = 8
"""Rows that the kernels multiply at once; more of them are faster with the libraries' products."""


class Int4Linear(nn.Module):
    """y = x Wᵀ + b: W[n, k] = (int4 − 8) · scale + zero, groups of consecutive columns in `order`."""

    kernel_name = "Int4Linear"

    def __init__(self, matrix: Matrix, in_features: int, group: int) -> None:
        super().__init__()
        self.few_rows: Callable[[Tensor], Tensor] | None = None
        """The kernel for [rows, in_features] of so few rows as decoding has; where it was found to agree."""
        self.some_rows: Callable[[Tensor], Tensor] | None = None
        """The one for up to `many.MOST_ROWS`, columns in the order in which they are held; likewise."""
        self.whole: Callable[[torch.dtype], Tensor] | None = None
        """The one that makes the matrix in a dtype, for more; likewise."""
        self.matrix, self.in_features, self.out_features, self.group = matrix, in_features, matrix.rows, group

    def held_tensors(self) -> tuple[Tensor, ...]:
        """All tensors of the matrix."""
        return tuple(each for each in self.matrix if isinstance(each, Tensor))

    def forward(self, x: Tensor) -> Tensor:
        """[..., in_features] → [..., out_features], by a kernel; of many rows with weights in x's dtype."""
        return self._product(x.reshape(-1, self.in_features)).view(*x.shape[:-1], self.out_features)

    def _product(self, x: Tensor) -> Tensor:
        """`few_rows` is compiled for some numbers of rows alone, so `some_rows` has 2 to 8 of them, too."""
        rows = len(x)
        if self.few_rows is not None and rows <= (1 if self.some_rows else MOST_SEQUENCES):
            return self.few_rows(x)
        x = self.ordered(x)
        if self.some_rows is not None and rows <= many.MOST_ROWS:
            return self.some_rows(x)
        return F.linear(x, (self.whole or self.dequantized)(x.dtype), self.matrix.bias)

    def ordered(self, x: Tensor) -> Tensor:
        """[rows, in_features] with columns as the matrix holds them."""
        order = self.matrix.order
        return x if order is None else x.index_select(1, order)

    def dequantized(self, dtype: torch.dtype) -> Tensor:
        """[rows, columns], columns in the order in which they are held."""
        held = self.matrix.weights
        int4 = torch.stack((held >> 4, held & 15), dim=-1).view(self.out_features, -1)
        group = torch.arange(self.in_features, device=held.device) // self.group
        weight = (int4.to(dtype) - gptq.MIDDLE) * self.matrix.scales[:, group].to(dtype)
        return weight if self.matrix.zeros is None else weight + self.matrix.zeros[:, group].to(dtype)


def supports(layer: Any) -> bool:
    """Whether it is a layer of GPTQModel's that keeps its checkpoint's layout."""
    return gptq.is_readable(layer) and layer.in_features % 2 == 0


def of_gptqmodel(layer: Any) -> Int4Linear | None:
    """Of a layer that is supported; None for another."""
    if not supports(layer):
        return None
    found = gptq.codes_of(layer)
    bias = None if layer.bias is None else layer.bias.detach()
    held = {"scales": found.scales, "zeros": found.zeros, "order": found.order}
    return Int4Linear(
        Matrix(packed(found.int4), layer.out_features, bias, **held), layer.in_features, found.group
    )


def packed(int4: Tensor) -> Tensor:
    """0 to 15, [rows, columns], to bytes [rows, columns / 2]: column 2j in the high four bits of byte j."""
    return (int4[:, ::2] << 4 | int4[:, 1::2]).to(torch.uint8)
