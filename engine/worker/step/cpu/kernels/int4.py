# ruff: noqa: PLR0913, PLR0917  # compiled functions are given arrays, not objects
"""A thread's rows of a product with 4-bit weights, compiled: a block of 16 rows at once (`avx512`)."""

from typing import Any

import numpy as np
from numba import carray, njit

from engine.worker.step.cpu.kernels import avx512
from engine.worker.step.cpu.kernels.values import BLOCK, SUMS, bf16_at, floats_at, place_at, row_at, wide

SEQUENCES_AT_ONCE = 4

_nibbles = avx512.nibble_dots(1, has_zeros=False)
_nibbles_of_all = avx512.nibble_dots(SEQUENCES_AT_ONCE, has_zeros=False)
_nibbles_and_zeros = avx512.nibble_dots(1, has_zeros=True)
_nibbles_and_zeros_of_all = avx512.nibble_dots(SEQUENCES_AT_ONCE, has_zeros=True)


@njit
def multiply_nibbles(matrix: Any, at: Any, spare: Any, out: Any, first: Any, begin: Any, end: Any) -> None:
    """4-bit weights, a block of rows at once."""
    batch, width = out.shape
    x_bytes, out_bytes = 2 * matrix.columns, 4 * width
    groups, words = matrix.columns // matrix.group, matrix.group // 8
    places = np.uint64(out.ctypes.data) + np.uint64(4 * first)
    many = batch - batch % SEQUENCES_AT_ONCE
    if matrix.zeros:
        _sum_groups(matrix, at, carray(floats_at(spare), (batch, groups)))
    for row in range(begin, end, BLOCK):
        weights = matrix.weights + np.uint64(row * matrix.columns // 2)
        scales = matrix.scales + np.uint64(2 * row * groups)
        for of in range(0, many, SEQUENCES_AT_ONCE):
            x, place = row_at(at, x_bytes, of), place_at(places, width, of, row)
            if matrix.zeros:
                zeros, sums = matrix.zeros + np.uint64(2 * row * groups), row_at(spare, 4 * groups, of)
                _nibbles_and_zeros_of_all(
                    weights, scales, zeros, matrix.codes, x, x_bytes, sums, place, out_bytes, groups, words
                )
            else:
                _nibbles_of_all(
                    weights, scales, scales, matrix.codes, x, x_bytes, x, place, out_bytes, groups, words
                )
        for of in range(many, batch):
            x, place = row_at(at, x_bytes, of), place_at(places, width, of, row)
            if matrix.zeros:
                zeros, sums = matrix.zeros + np.uint64(2 * row * groups), row_at(spare, 4 * groups, of)
                _nibbles_and_zeros(
                    weights, scales, zeros, matrix.codes, x, x_bytes, sums, place, out_bytes, groups, words
                )
            else:
                _nibbles(
                    weights, scales, scales, matrix.codes, x, x_bytes, x, place, out_bytes, groups, words
                )


@njit(fastmath=SUMS)
def _sum_groups(matrix: Any, at: Any, sums: Any) -> None:
    """Each sequence's values added up, group by group."""
    batch, groups = sums.shape
    x = carray(bf16_at(at), (batch, groups, matrix.group))
    for of in range(batch):
        for group in range(groups):
            total = np.float32(0)
            for i in range(matrix.group):
                total += wide(x[of, group, i])
            sums[of, group] = total
