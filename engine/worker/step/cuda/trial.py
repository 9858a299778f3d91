"""Whether kernels give about what a layer gives: compiled and compared, before the layer is dropped.

Owns the comparison, and which kernels of many rows a model's int4 layers have. Knows layers, not models.
"""

import traceback
from collections.abc import Callable, Iterable
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from engine.worker.failures import first_line
from engine.worker.step.cuda import many
from engine.worker.step.cuda.int4 import Int4Linear

CLOSE = 0.02  # of the largest result: products with sums in another order, or inputs rounded elsewhere
ROWS = tuple(tile.batch // 2 + 1 for tile in many.TILES)
"""One product for each kernel that rows up to `many.MOST_ROWS` need."""
FEW, WHOLE = "products of few rows", "dequantized weights"


class Trial:
    """Of the kernels of many rows, on each int4 layer of a model: what fails is not tried on later ones."""

    def __init__(self, dtype: torch.dtype) -> None:
        self.dtype = dtype
        self._failures: dict[str, str] = {}

    @property
    def note(self) -> str:
        """What is slower than it should be, and why; empty where nothing is."""
        if not self._failures:
            return ""
        why = "; ".join(dict.fromkeys(self._failures.values()))
        what = " and ".join(self._failures)
        return f"prompts and batches are slower than they should be: {what} without kernels ({why})"

    def asked(self, layer: Any, device: torch.device) -> tuple[Tensor, Tensor]:
        """Rows for all kernels of a layer, and what the layer makes of them."""
        x = torch.randn((max(ROWS), layer.in_features), device=device).to(self.dtype)
        return x, layer(x[None])[0]

    def equip(self, made: Int4Linear, x: Tensor, right: Tensor) -> None:
        """Give `made` the kernels that agree with the layer that it replaces, which was `asked` for them."""
        x = made.ordered(x)
        multiplied = partial(many.multiplied, matrix=made.matrix, group=made.group)
        if not many.can_multiply(made.in_features, made.group, x.dtype):
            why = f"no tile for groups of {made.group} in {made.in_features} columns, {x.dtype}"
            self._failures.setdefault(FEW, why)
        elif self._agrees(FEW, made, lambda: ((multiplied(x[:rows]), right[:rows]) for rows in ROWS)):
            made.some_rows = multiplied
        dequantized = partial(many.dequantized, made.matrix, made.in_features, made.group)
        product = partial(nn.functional.linear, bias=made.matrix.bias)
        if self._agrees(WHOLE, made, lambda: [(product(x, dequantized(x.dtype)), right)]):
            made.whole = dequantized

    def _agrees(
        self, what: str, made: Int4Linear, products: Callable[[], Iterable[tuple[Tensor, Tensor]]]
    ) -> bool:
        """Whether each product is close to the right one; why not is remembered."""
        if what in self._failures:
            return False
        try:
            if all(is_close(*each) for each in products()):
                return True
            why = f"other numbers in a matrix of {made.out_features} × {made.in_features}"
        except Exception as error:
            traceback.print_exc()  # into the log
            why = first_line(error)
        self._failures[what] = why
        return False


def is_close(found: Tensor, right: Tensor) -> bool:
    """Whether a product is about the right one; NaN is not."""
    right = right.float()
    return bool((found.float() - right).abs().max() <= CLOSE * right.abs().max())
