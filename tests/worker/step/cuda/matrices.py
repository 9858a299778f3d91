"""Random int4 matrices as kernels read them, and the same in float64."""

from typing import Any, NamedTuple

import torch
from torch import Tensor

from engine.worker.step.cuda.int4 import packed
from engine.worker.step.cuda.kernels.matrix import Matrix

NF4 = (-1.0, -0.7, -0.5, -0.4, -0.3, -0.2, -0.1, 0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 1)


class Made(NamedTuple):
    matrix: Matrix
    weights: Tensor
    """float64, columns as they are held."""

    @property
    def by_input(self) -> Tensor:
        """The same, columns in the inputs' order."""
        if self.matrix.order is None:
            return self.weights
        return self.weights[:, self.matrix.order.long().argsort()]


def made(rows: int, columns: int, group: int, dtype: torch.dtype, options: str = "") -> Made:
    """A random matrix; `options` are words: zeros, bias, code, nested, order."""
    groups, spread = -(-columns // group), torch.arange(columns) // group
    int4, scales = torch.randint(0, 16, (rows, columns)), (torch.rand(rows, groups) / 50).to(dtype)
    values, held = torch.arange(-8.0, 8.0), scales
    more: dict[str, Any] = {}
    if "zeros" in options:
        more["zeros"] = (torch.randn(rows, groups) / 50).to(dtype)
    if "bias" in options:
        more["bias"] = torch.randn(rows).to(dtype)
    if "code" in options:
        more["code"] = values = torch.tensor(NF4)
    if "order" in options:
        more["order"] = torch.randperm(columns).int()
    if "nested" in options:
        held, outer = (
            torch.randint(0, 256, (rows, groups), dtype=torch.uint8),
            torch.rand(-(-rows * groups // 256)),
        )
        more |= {"nested_code": torch.rand(256), "nested_scales": outer, "offset": 0.25}
        of = outer[torch.arange(rows * groups).view(rows, groups) // 256]
        scales = more["nested_code"][held.long()] * of + 0.25
    weights = values[int4].double() * scales.double()[:, spread]
    if "zeros" in options:
        weights += more["zeros"].double()[:, spread]
    return Made(Matrix(packed(int4), rows, scales=held, **more), weights)


def error(found: Tensor, right: Tensor) -> float:
    """Relative, over all values; NaN where one was not written."""
    return float((found.double() - right).norm() / right.norm())
