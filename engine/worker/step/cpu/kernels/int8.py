# ruff: noqa: PLR0913, PLR0917  # compiled functions are given arrays, not objects
"""A thread's rows of a matmul with int8 weights, compiled: inputs in bf16, or quantized to int8, too.

The latter is LLM.int8 (Dettmers et al. 2022, section 3) with bitsandbytes' own numbers, a sequence at a time.
"""

from typing import Any

import numpy as np
from numba import carray, njit

from engine.worker.step.cpu.kernels import avx512
from engine.worker.step.cpu.kernels.values import (
    bf16_at,
    element_address,
    float32_at,
    int8_at,
    int16_at,
    int32_at,
    round_bf16,
    row_address,
    to_float32,
)

MATMUL_SCRATCH = 2
"""Scratch that a matmul needs, in float32 per column and sequence."""
_OVER_127, _OVER_127_SQUARED = np.float32(7.874015718698502e-3), np.float32(6.200124e-05)

_int8_dot = avx512.int8_dot()
_int8_int16_dot = avx512.int8_int16_dot()


@njit
def matmul_int8(matrix: Any, x_addr: Any, out: Any, first: Any, begin: Any, end: Any) -> None:
    """int8 weights with a scale per row."""
    batch, width = out.shape
    scales = carray(bf16_at(matrix.scales), matrix.rows)
    out_base = np.uint64(out.ctypes.data) + np.uint64(4 * first)
    for row in range(begin, end):
        weights = matrix.weights + np.uint64(row * matrix.columns)
        for seq in range(batch):
            x = row_address(x_addr, 2 * matrix.columns, seq)
            _int8_dot(weights, x, element_address(out_base, width, seq, row), matrix.columns // 32)
            out[seq, first + row] *= to_float32(scales[row])


@njit
def matmul_int8_dynamic(
    matrix: Any, x_addr: Any, scratch: Any, out: Any, first: Any, begin: Any, end: Any
) -> None:
    """int8 weights with inputs quantized to int8 by their sequence's absmax, without outliers."""
    batch, columns = out.shape[0], matrix.columns
    scales = carray(float32_at(matrix.scales), matrix.rows)
    for seq in range(batch):
        quantized_addr = row_address(scratch, 4 * MATMUL_SCRATCH * columns, seq)
        absmax = _quantize_inputs(
            matrix, carray(bf16_at(row_address(x_addr, 2 * columns, seq)), columns), quantized_addr
        )
        sum_addr = quantized_addr + np.uint64(2 * columns)  # an int32 after the quantized inputs
        total = carray(int32_at(sum_addr), 1)
        for row in range(begin, end):
            _int8_int16_dot(
                matrix.weights + np.uint64(row * columns), quantized_addr, sum_addr, columns // 32
            )
            out[seq, first + row] = np.float32(total[0]) * (absmax * scales[row]) * _OVER_127_SQUARED


@njit
def _quantize_inputs(matrix: Any, x: Any, quantized_addr: Any) -> Any:
    """Quantize one sequence's inputs, except outliers, as int16 at an address; returns their absmax."""
    quantized, outlier = carray(int16_at(quantized_addr), matrix.columns), matrix.outlier
    absmax = np.float32(0)
    for i in range(matrix.columns):
        size = abs(to_float32(x[i]))
        if not (outlier and size >= outlier):
            absmax = max(absmax, size)
    scale = np.float32(127) / absmax if absmax else np.float32(0)
    for i in range(matrix.columns):
        value = to_float32(x[i])
        is_outlier = outlier and abs(value) >= outlier
        quantized[i] = np.int16(0) if is_outlier else np.int16(np.rint(value * scale))
    return absmax


@njit
def add_outliers(matrix: Any, x_addr: Any, scratch: Any, out: Any, first: Any, begin: Any, end: Any) -> None:
    """Add the outliers' part: a few columns, whose weights are dequantized to bf16."""
    columns = matrix.columns
    weights = carray(int8_at(matrix.weights), (matrix.rows, columns))
    scales = carray(float32_at(matrix.scales), matrix.rows)
    for seq in range(out.shape[0]):
        x = carray(bf16_at(row_address(x_addr, 2 * columns, seq)), columns)
        found = carray(int32_at(row_address(scratch, 4 * MATMUL_SCRATCH * columns, seq)), columns)
        count = 0
        for i in range(columns):
            if abs(to_float32(x[i])) >= matrix.outlier:
                found[count] = i
                count += 1
        if count:
            for row in range(begin, end):
                total = np.float32(0)
                for i in found[:count]:
                    weight = round_bf16(np.float32(weights[row, i]) * scales[row] * _OVER_127)
                    total += to_float32(x[i]) * weight
                out[seq, first + row] = round_bf16(out[seq, first + row] + total)
