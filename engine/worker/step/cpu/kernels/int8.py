# ruff: noqa: PLR0913, PLR0917  # compiled functions are given arrays, not objects
"""A thread's rows of a product with 8-bit weights, compiled: inputs as they are, or rounded to 8 bits, too.

The latter is LLM.int8 (Dettmers et al. 2022, section 3) with bitsandbytes' own numbers, a sequence at a time.
"""

from typing import Any

import numpy as np
from numba import carray, njit

from engine.worker.step.cpu.kernels import avx512
from engine.worker.step.cpu.kernels.values import (
    bf16_at,
    bytes_at,
    floats_at,
    integers_at,
    place_at,
    rounded,
    row_at,
    shorts_at,
    wide,
)

SPARE = 2
"""Room that products need for themselves: so many float32 a column and sequence."""
_OVER_127, _OVER_127_SQUARED = np.float32(7.874015718698502e-3), np.float32(6.200124e-05)

_byte_dot = avx512.byte_dot()
_integer_dot = avx512.integer_dot()


@njit
def multiply_bytes(matrix: Any, at: Any, out: Any, first: Any, begin: Any, end: Any) -> None:
    """int8 weights with a scale a row."""
    batch, width = out.shape
    scales = carray(bf16_at(matrix.scales), matrix.rows)
    places = np.uint64(out.ctypes.data) + np.uint64(4 * first)
    for row in range(begin, end):
        weights = matrix.weights + np.uint64(row * matrix.columns)
        for of in range(batch):
            x = row_at(at, 2 * matrix.columns, of)
            _byte_dot(weights, x, place_at(places, width, of, row), matrix.columns // 32)
            out[of, first + row] *= wide(scales[row])


@njit
def multiply_rounded(matrix: Any, at: Any, spare: Any, out: Any, first: Any, begin: Any, end: Any) -> None:
    """int8 weights with inputs that are rounded to int8 by their sequence's largest, outliers left out."""
    batch, columns = out.shape[0], matrix.columns
    scales = carray(floats_at(matrix.scales), matrix.rows)
    for of in range(batch):
        x_at = row_at(spare, 4 * SPARE * columns, of)
        most = _round_inputs(matrix, carray(bf16_at(row_at(at, 2 * columns, of)), columns), x_at)
        sum_at = x_at + np.uint64(2 * columns)  # an int32 behind the rounded inputs
        total = carray(integers_at(sum_at), 1)
        for row in range(begin, end):
            _integer_dot(matrix.weights + np.uint64(row * columns), x_at, sum_at, columns // 32)
            out[of, first + row] = np.float32(total[0]) * (most * scales[row]) * _OVER_127_SQUARED


@njit
def _round_inputs(matrix: Any, x: Any, x_at: Any) -> Any:
    """Round one sequence's inputs, all but outliers, as int16 to an address; returns the largest of them."""
    rounded_x, outlier = carray(shorts_at(x_at), matrix.columns), matrix.outlier
    most = np.float32(0)
    for i in range(matrix.columns):
        size = abs(wide(x[i]))
        if not (outlier and size >= outlier):
            most = max(most, size)
    scale = np.float32(127) / most if most else np.float32(0)
    for i in range(matrix.columns):
        value = wide(x[i])
        is_outlier = outlier and abs(value) >= outlier
        rounded_x[i] = np.int16(0) if is_outlier else np.int16(np.rint(value * scale))
    return most


@njit
def add_outliers(matrix: Any, at: Any, spare: Any, out: Any, first: Any, begin: Any, end: Any) -> None:
    """What the outliers add: a few columns, whose weights are widened to bf16."""
    columns = matrix.columns
    weights = carray(bytes_at(matrix.weights), (matrix.rows, columns))
    scales = carray(floats_at(matrix.scales), matrix.rows)
    for of in range(out.shape[0]):
        x = carray(bf16_at(row_at(at, 2 * columns, of)), columns)
        found = carray(integers_at(row_at(spare, 4 * SPARE * columns, of)), columns)
        count = 0
        for i in range(columns):
            if abs(wide(x[i])) >= matrix.outlier:
                found[count] = i
                count += 1
        if count:
            for row in range(begin, end):
                total = np.float32(0)
                for i in found[:count]:
                    weight = rounded(np.float32(weights[row, i]) * scales[row] * _OVER_127)
                    total += wide(x[i]) * weight
                out[of, first + row] = rounded(out[of, first + row] + total)
