"""4-bit linear layers in the layout of the engine's own kernels, which `avx512` describes.

Owns that layout, and matmuls outside of a compiled step. Those of few rows are the step's own; for more,
such as a prompt's, weights are dequantized to bf16 a matrix at a time, into memory that all matrices share,
and multiplied from there while the processor's caches have them. Knows neither quantizers nor models.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
import torch
from torch import Tensor

from engine.config.runtime import BLOCK, WORD
from engine.worker.step.cpu import compile
from engine.worker.step.linear import FusedWeights

FEW_ROWS = 32
"""Of inputs: each row of weights is read once for all. With more, oneDNN's blocked matmul is faster."""

_ALIGNMENT = 64  # bytes


@dataclass(frozen=True, slots=True)
class Int4Layers:
    """4-bit layers with the same input, stacked by rows: weight = code_book[int4] · scale + zero."""

    int4: Tensor
    """uint8 [rows, columns]."""
    scales: Tensor
    """bf16 [rows, groups], a group being consecutive columns."""
    zeros: Tensor | None
    """The same, or none."""
    code_book: tuple[float, ...]
    """The values of 0 to 15."""
    bias: Tensor | None
    """bf16 [rows]."""


class Int4Weights(FusedWeights):
    """Words [rows / 16, columns / 8, 16]; scales and zeros [rows / 16, groups, 16]."""

    kernel = "Int4Linear"
    tried_rows = (5, FEW_ROWS + 1)  # four at once and one alone; and of dequantized weights

    def __init__(self, widths: tuple[int, ...], given: Int4Layers) -> None:
        super().__init__(widths)
        self.rows, self.columns = given.int4.shape
        self._words, self._code_book = words(given.int4), _table(given.code_book)
        self._scales, self._zeros = _in_blocks(given.scales), None
        if given.zeros is not None:
            self._zeros = _in_blocks(given.zeros)
        self._group, self.bias = self.columns // given.scales.shape[1], given.bias
        held = (self._words, self._scales, self._zeros, self.bias)
        self.tensors = tuple(tensor for tensor in held if tensor is not None)

    def describe(self, matrix: Any, first: int, rows: int) -> None:
        """Fill a record of `matmul.MATRIX` with these rows."""
        kernel: Any = compile.kernels()
        groups = self.columns // self._group
        matrix["kind"], matrix["rows"], matrix["columns"] = kernel.INT4, rows, self.columns
        matrix["group"] = self._group
        matrix["weights"] = self._words.data_ptr() + first * self.columns // 2
        matrix["scales"] = self._scales.data_ptr() + 2 * first * groups
        matrix["zeros"] = 0 if self._zeros is None else self._zeros.data_ptr() + 2 * first * groups
        matrix["bias"] = 0 if self.bias is None else self.bias.data_ptr() + 2 * first
        matrix["code_book"] = self._code_book.data_ptr()

    def matmul(self, x: Tensor) -> Tensor:
        """In bf16, by the step's own product or with dequantized weights."""
        rows = x.reshape(-1, self.columns).to(torch.bfloat16)
        if len(rows) <= FEW_ROWS:
            return self._product(rows.contiguous()).to(x.dtype).view(*x.shape[:-1], self.rows)
        y = (rows @ self._dequantized()).to(x.dtype).view(*x.shape[:-1], self.rows)
        return y if self.bias is None else y.add_(self.bias)

    def _product(self, x: Tensor) -> Tensor:
        """Of x, bf16 [rows, columns], as the compiled step computes it, biases added: rounded, in float32."""
        kernel: Any = compile.kernels()
        threads, batch = torch.get_num_threads(), len(x)
        out = torch.empty((batch, self.rows))
        sums = torch.empty((threads, batch, self.columns // self._group))
        wanted = np.zeros(1, kernel.MULTIPLY)
        self.describe(wanted[0]["matrix"], 0, self.rows)
        wanted[0]["batch"] = batch
        for name, given in (("x", x), ("sums", sums), ("out", out)):
            wanted[0][name] = given.data_ptr()
        compile.run(kernel.multiply.address, wanted.ctypes.data, threads)
        return out

    def _dequantized(self) -> Tensor:
        """Weights, bf16 [columns, rows]: valid until any other matrix is dequantized."""
        kernel: Any = compile.kernels()
        out = _shared_buffer(self.rows * self.columns).view(self.columns, self.rows)
        wanted = np.zeros(1, kernel.DEQUANTIZE)
        self.describe(wanted[0]["matrix"], 0, self.rows)
        wanted[0]["out"] = out.data_ptr()
        compile.run(kernel.dequantize.address, wanted.ctypes.data, torch.get_num_threads())
        return out


def words(int4: Tensor) -> Tensor:
    """uint8 [rows, columns] to int32 [rows / 16, columns / 8, 16]."""
    rows, columns = int4.shape
    parts = int4.view(rows // BLOCK, BLOCK, columns // WORD, WORD // 2, 2).int()
    word = torch.zeros(parts.shape[:3], dtype=torch.int32)
    for pair in range(WORD // 2):
        for half in range(2):
            word |= parts[..., pair, half] << (4 * pair + 16 * half)
    return word.transpose(1, 2).contiguous()


def _in_blocks(values: Tensor) -> Tensor:
    """[rows, groups] to bf16 [rows / 16, groups, 16]."""
    rows, groups = values.shape
    return values.to(torch.bfloat16).view(rows // BLOCK, BLOCK, groups).transpose(1, 2).contiguous()


@cache
def _table(code_book: Sequence[float]) -> Tensor:
    """bf16 [2, 16], the same twice, at a multiple of a vector's size; one for all matrices."""
    buffer = torch.empty(2 * len(code_book) + _ALIGNMENT, dtype=torch.bfloat16)
    first = -buffer.data_ptr() % _ALIGNMENT // buffer.element_size()
    table = buffer[first : first + 2 * len(code_book)].view(2, len(code_book))
    return table.copy_(torch.tensor(code_book))


_buffers: list[Tensor] = []  # one, as large as the largest matrix was


def _shared_buffer(count: int) -> Tensor:
    """Memory for `count` bf16, shared by all callers."""
    if not _buffers or len(_buffers[0]) < count:
        _buffers[:] = [torch.empty(count, dtype=torch.bfloat16)]
    return _buffers[0][:count]
