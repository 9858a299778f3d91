"""Whether kernels give about what a layer gives: compiled and compared, before the layer is dropped.

Owns the comparison, and which kernels of many rows a model's int4 layers have. Knows layers, not models.
"""

import traceback
from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor, nn

from engine.worker.failures import first_line
from engine.worker.step.cuda import many
from engine.worker.step.cuda.int4 import Int4Linear

CLOSE = 0.02  # of the largest result: products with sums in another order, or inputs rounded elsewhere
ROWS = tuple(tile.batch // 2 + 1 for tile in many.TILES)
"""One product for each kernel that rows up to `many.MOST_ROWS` need."""


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

    def equip(self, made: Int4Linear, layer: nn.Module) -> None:
        """Give `made` the kernels that agree with the layer that it replaces."""
        x = torch.randn((max(ROWS), made.in_features), device=made.matrix.weights.device).to(self.dtype)
        right = layer(x[None])[0]
        ordered = made.ordered(x)
        multiplied = partial(many.multiplied, matrix=made.matrix, group=made.group)
        if self._agrees("products of few rows", lambda: _by_tiles(made, multiplied, ordered, right)):
            made.some_rows = multiplied
        dequantized = partial(many.dequantized, made.matrix, made.in_features, made.group)
        if self._agrees("dequantized weights", lambda: _whole(made, dequantized, ordered, right)):
            made.whole = dequantized

    def _agrees(self, what: str, difference: Callable[[], str]) -> bool:
        """Whether there is none; else `difference` says, or raises, what to remember."""
        if what in self._failures:
            return False
        try:
            why = difference()
        except Exception as error:
            traceback.print_exc()  # into the log
            why = first_line(error)
        if why:
            self._failures[what] = why
        return not why


def is_close(found: Tensor, right: Tensor) -> bool:
    """Whether a product is about the right one; NaN is not."""
    right = right.float()
    return bool((found.float() - right).abs().max() <= CLOSE * right.abs().max())


def _by_tiles(made: Int4Linear, multiplied: Callable[[Tensor], Tensor], x: Tensor, right: Tensor) -> str:
    if not many.can_multiply(made.in_features, made.group, x.dtype):
        return f"no tile for groups of {made.group} in {made.in_features} columns, {x.dtype}"
    agrees = all(is_close(multiplied(x[:rows]), right[:rows]) for rows in ROWS)
    return "" if agrees else f"other numbers in a matrix of {made.out_features} × {made.in_features}"


def _whole(made: Int4Linear, dequantized: Callable[[torch.dtype], Tensor], x: Tensor, right: Tensor) -> str:
    product = nn.functional.linear(x, dequantized(x.dtype), made.matrix.bias)
    return (
        ""
        if is_close(product, right)
        else f"other numbers in a matrix of {made.out_features} × {made.in_features}"
    )
