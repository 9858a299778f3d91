"""4-bit linear layers in the layout of the engine's own products, which `avx512` describes.

Owns that layout, and products outside of a compiled step, a prompt's above all: weights are widened to bf16 a
matrix at a time, into memory that all matrices share, and multiplied from there while the processor's caches
have them. Knows neither who quantized nor models.
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
from engine.worker.step.linear import Packed

_ALIGNMENT = 64  # bytes


@dataclass(frozen=True, slots=True)
class Nibbles:
    """4-bit layers with the same input, one below the other: weight = code[nibble] · scale + zero."""

    nibbles: Tensor
    """uint8 [rows, columns]."""
    scales: Tensor
    """bf16 [rows, groups]: groups of columns, one behind the other."""
    zeros: Tensor | None
    """The same, or none."""
    codes: tuple[float, ...]
    """What 0 to 15 stand for."""
    bias: Tensor | None
    """bf16 [rows]."""


class PackedNibbles(Packed):
    """Words [rows / 16, columns / 8, 16]; scales and zeros [rows / 16, groups, 16]."""

    kernel = "PackedNibbles"

    def __init__(self, widths: tuple[int, ...], given: Nibbles) -> None:
        super().__init__(widths)
        self.rows, self.columns = given.nibbles.shape
        self._words, self._codes = words(given.nibbles), _table(given.codes)
        self._scales, self._zeros = _in_blocks(given.scales), None
        if given.zeros is not None:
            self._zeros = _in_blocks(given.zeros)
        self._group, self.bias = self.columns // given.scales.shape[1], given.bias
        held = (self._words, self._scales, self._zeros, self.bias)
        self.tensors = tuple(tensor for tensor in held if tensor is not None)

    def describe(self, matrix: Any, first: int, rows: int) -> None:
        """Tell compiled code of these rows: fill a record of `products.MATRIX`."""
        kernel: Any = compile.kernels()
        groups = self.columns // self._group
        matrix["kind"], matrix["rows"], matrix["columns"] = kernel.NIBBLES, rows, self.columns
        matrix["group"] = self._group
        matrix["weights"] = self._words.data_ptr() + first * self.columns // 2
        matrix["scales"] = self._scales.data_ptr() + 2 * first * groups
        matrix["zeros"] = 0 if self._zeros is None else self._zeros.data_ptr() + 2 * first * groups
        matrix["bias"] = 0 if self.bias is None else self.bias.data_ptr() + 2 * first
        matrix["codes"] = self._codes.data_ptr()

    def product(self, x: Tensor) -> Tensor:
        """In bf16, by way of bf16 weights."""
        rows = x.reshape(-1, self.columns).to(torch.bfloat16)
        y = (rows @ self._widened()).to(x.dtype).view(*x.shape[:-1], self.rows)
        return y if self.bias is None else y.add_(self.bias)

    def _widened(self) -> Tensor:
        """Weights, bf16 [columns, rows]: there until any other is widened."""
        kernel: Any = compile.kernels()
        out = _shared_room(self.rows * self.columns).view(self.columns, self.rows)
        wanted = np.zeros(1, kernel.WIDENING)
        self.describe(wanted[0]["matrix"], 0, self.rows)
        wanted[0]["out"] = out.data_ptr()
        compile.run(kernel.widen.address, wanted.ctypes.data, torch.get_num_threads())
        return out


def words(nibbles: Tensor) -> Tensor:
    """uint8 [rows, columns] to int32 [rows / 16, columns / 8, 16]."""
    rows, columns = nibbles.shape
    parts = nibbles.view(rows // BLOCK, BLOCK, columns // WORD, WORD // 2, 2).int()
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
def _table(codes: Sequence[float]) -> Tensor:
    """bf16 [2, 16], the same twice, at a multiple of a vector's size; one for all matrices."""
    room = torch.empty(2 * len(codes) + _ALIGNMENT, dtype=torch.bfloat16)
    first = -room.data_ptr() % _ALIGNMENT // room.element_size()
    table = room[first : first + 2 * len(codes)].view(2, len(codes))
    return table.copy_(torch.tensor(codes))


_rooms: list[Tensor] = []  # one, as large as the largest matrix was


def _shared_room(count: int) -> Tensor:
    """Memory for `count` bf16, which whoever asks next gets too."""
    if not _rooms or len(_rooms[0]) < count:
        _rooms[:] = [torch.empty(count, dtype=torch.bfloat16)]
    return _rooms[0][:count]
