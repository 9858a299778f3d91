# ruff: noqa: PLR0913, PLR0917  # compiled functions are given arrays, not objects
"""A thread's rows of a matmul with int4 weights, compiled: a block of 16 rows at once (`avx512`)."""

from typing import Any

import numpy as np
from numba import carray, njit

from engine.worker.step.cpu.kernels import avx512
from engine.worker.step.cpu.kernels.values import (
    BLOCK,
    SUMS,
    bf16_at,
    element_address,
    float32_at,
    row_address,
    to_float32,
)

SEQUENCES_AT_ONCE = 4

_dots = avx512.int4_dots(1, has_zeros=False)
_dots_of_all = avx512.int4_dots(SEQUENCES_AT_ONCE, has_zeros=False)
_dots_and_zeros = avx512.int4_dots(1, has_zeros=True)
_dots_and_zeros_of_all = avx512.int4_dots(SEQUENCES_AT_ONCE, has_zeros=True)


@njit
def matmul_int4(matrix: Any, x_addr: Any, scratch: Any, out: Any, first: Any, begin: Any, end: Any) -> None:
    """int4 weights, a block of rows at once."""
    batch, width = out.shape
    x_bytes, out_bytes = 2 * matrix.columns, 4 * width
    groups, words = matrix.columns // matrix.group, matrix.group // 8
    out_base = np.uint64(out.ctypes.data) + np.uint64(4 * first)
    many = batch - batch % SEQUENCES_AT_ONCE
    if matrix.zeros:
        _sum_groups(matrix, x_addr, carray(float32_at(scratch), (batch, groups)))
    for row in range(begin, end, BLOCK):
        weights = matrix.weights + np.uint64(row * matrix.columns // 2)
        scales = matrix.scales + np.uint64(2 * row * groups)
        for seq in range(0, many, SEQUENCES_AT_ONCE):
            x, out_addr = row_address(x_addr, x_bytes, seq), element_address(out_base, width, seq, row)
            if matrix.zeros:
                zeros = matrix.zeros + np.uint64(2 * row * groups)
                sums = row_address(scratch, 4 * groups, seq)
                _dots_and_zeros_of_all(
                    weights, scales, zeros, matrix.code_book,
                    x, x_bytes, sums, out_addr, out_bytes, groups, words,
                )  # fmt: skip
            else:
                _dots_of_all(
                    weights, scales, scales, matrix.code_book,
                    x, x_bytes, x, out_addr, out_bytes, groups, words,
                )  # fmt: skip
        for seq in range(many, batch):
            x, out_addr = row_address(x_addr, x_bytes, seq), element_address(out_base, width, seq, row)
            if matrix.zeros:
                zeros = matrix.zeros + np.uint64(2 * row * groups)
                sums = row_address(scratch, 4 * groups, seq)
                _dots_and_zeros(
                    weights, scales, zeros, matrix.code_book,
                    x, x_bytes, sums, out_addr, out_bytes, groups, words,
                )  # fmt: skip
            else:
                _dots(
                    weights, scales, scales, matrix.code_book,
                    x, x_bytes, x, out_addr, out_bytes, groups, words,
                )  # fmt: skip


@njit(fastmath=SUMS)
def _sum_groups(matrix: Any, x_addr: Any, sums: Any) -> None:
    """The sum of each sequence's values, group by group."""
    batch, groups = sums.shape
    x = carray(bf16_at(x_addr), (batch, groups, matrix.group))
    for seq in range(batch):
        for group in range(groups):
            total = np.float32(0)
            for i in range(matrix.group):
                total += to_float32(x[seq, group, i])
            sums[seq, group] = total
