# ruff: noqa: PLR0913, PLR0917  # compiled functions are given arrays, not objects
"""A thread's rows of y = x Wᵀ + b, compiled, with weights of 16, 8 or 4 bits.

Owns how a matrix is described to compiled code, and the layout of its inputs. Sums are float32, results are
rounded to bf16. Where the processor has the instructions of `avx512`, inputs are bf16, one after another.
Otherwise weights are bf16, and inputs float32, split by the parity of their index, "even" and "odd": two
weights are then one 32-bit load, a shift and a mask, which every processor vectorizes. Knows neither torch
nor models.
"""

from typing import Any

import numpy as np
from numba import carray, cfunc, from_dtype, njit, types

from engine.worker.step.cpu.kernels import avx512, int4
from engine.worker.step.cpu.kernels.int4 import matmul_int4
from engine.worker.step.cpu.kernels.int8 import add_outliers, matmul_int8, matmul_int8_dynamic
from engine.worker.step.cpu.kernels.team import thread_count, thread_number
from engine.worker.step.cpu.kernels.values import (
    ADDRESS,
    BLOCK,
    COUNT,
    SUMS,
    bf16_at,
    by_parity,
    element_address,
    float32_at,
    round_bf16,
    row_address,
    row_range,
    store_bf16,
    store_by_parity,
    to_float32,
    uint32_at,
    upper_to_float32,
)

BF16, INT4, INT8, INT8_DYNAMIC = range(4)
"""Kinds of weights. Dynamic: inputs are quantized to int8, too (LLM.int8, Dettmers et al. 2022)."""

MATRIX = np.dtype(
    [
        ("kind", COUNT),
        ("weights", ADDRESS),  # [rows, columns], or int4 words [rows / 16, columns / 8, 16]
        ("bias", ADDRESS),  # bf16 [rows], or 0
        ("rows", COUNT),
        ("columns", COUNT),
        ("group", COUNT),  # int4: columns that share a scale
        ("scales", ADDRESS),  # int4: bf16 [rows / 16, groups, 16]; int8: [rows], bf16 or, dynamic, float32
        ("zeros", ADDRESS),  # int4: like scales, added after scaling; or 0
        ("code_book", ADDRESS),  # int4: bf16 [2, 16], the value of each
        ("outlier", np.float32),  # dynamic: inputs of this size and more are not quantized; or 0
    ]
)

DEQUANTIZE = np.dtype([("matrix", MATRIX), ("out", ADDRESS)])
"""int4 weights, and where to dequantize them to, as bf16 [columns, rows]."""

MULTIPLY = np.dtype(
    [("matrix", MATRIX), ("batch", COUNT), ("x", ADDRESS), ("sums", ADDRESS), ("out", ADDRESS)]
)
"""int4 weights, and what to multiply them with: x, bf16 [batch, columns]. `out` is float32 [batch, rows], and
`sums` memory for float32 [threads, batch, groups]."""

SEQUENCES_AT_ONCE = int4.SEQUENCES_AT_ONCE
HAS_VECTORS = avx512.are_available()

_row_dot = avx512.row_dots(1)
_row_dots = avx512.row_dots(SEQUENCES_AT_ONCE)
_dequantize = avx512.int4_dequantizer(has_zeros=False)
_dequantize_with_zeros = avx512.int4_dequantizer(has_zeros=True)


@njit
def _matmul_bf16(matrix: Any, x_addr: Any, out: Any, first: Any, begin: Any, end: Any) -> None:
    """bf16 weights, by vectors."""
    batch, width = out.shape
    row_bytes, out_bytes, vectors = 2 * matrix.columns, 4 * width, matrix.columns // 32
    out_base = np.uint64(out.ctypes.data) + np.uint64(4 * first)
    many = batch - batch % SEQUENCES_AT_ONCE
    for row in range(begin, end):
        weights = matrix.weights + np.uint64(row * row_bytes)
        for seq in range(0, many, SEQUENCES_AT_ONCE):
            x, out_addr = row_address(x_addr, row_bytes, seq), element_address(out_base, width, seq, row)
            _row_dots(weights, x, row_bytes, out_addr, out_bytes, vectors)
        for seq in range(many, batch):
            x, out_addr = row_address(x_addr, row_bytes, seq), element_address(out_base, width, seq, row)
            _row_dot(weights, x, row_bytes, out_addr, out_bytes, vectors)


@njit(fastmath=SUMS)
def _dots_by_loops(x: Any, rows: Any, scratch: Any, out: Any) -> None:
    for row in range(rows.shape[0]):
        total = np.float32(0)
        for i in range(rows.shape[1]):
            total += x[i] * to_float32(rows[row, i])
        out[row] = total


@njit
def _dots_by_vectors(x: Any, rows: Any, scratch: Any, out: Any) -> None:
    count, size = rows.shape
    if size % 32:
        _dots_by_loops(x, rows, scratch, out)
        return
    x_addr = np.uint64(scratch.ctypes.data)
    store_bf16(x.reshape(1, size), x_addr)
    rows_addr, out_addr = np.uint64(rows.ctypes.data), np.uint64(out.ctypes.data)
    for row in range(count):
        _row_dot(
            row_address(rows_addr, 2 * size, row), x_addr, 0, row_address(out_addr, 4, row), 0, size // 32
        )


@njit
def _matmul_by_pairs(
    matrix: Any, x_addr: Any, scratch: Any, out: Any, first: Any, begin: Any, end: Any
) -> None:
    """bf16 weights, on any processor."""
    batch = out.shape[0]
    weights = carray(uint32_at(matrix.weights), (matrix.rows, matrix.columns // 2))
    even, odd = by_parity(x_addr, batch, matrix.columns)
    many = batch - batch % SEQUENCES_AT_ONCE
    for row in range(begin, end):
        for seq in range(0, many, SEQUENCES_AT_ONCE):
            a, b, c, d = _four_dots(weights, row, even, odd, seq)
            out[seq, first + row], out[seq + 1, first + row] = a, b
            out[seq + 2, first + row], out[seq + 3, first + row] = c, d
        for seq in range(many, batch):
            out[seq, first + row] = _dot(weights, row, even, odd, seq)


@njit(fastmath=SUMS)
def _dot(weights: Any, row: Any, even: Any, odd: Any, seq: Any) -> Any:
    """One row's dot product with the values of sequence `seq`."""
    low, high = np.float32(0), np.float32(0)
    for pair in range(even.shape[1]):
        bits = weights[row, pair]
        low += to_float32(bits) * even[seq, pair]
        high += upper_to_float32(bits) * odd[seq, pair]
    return low + high


@njit(fastmath=SUMS)
def _four_dots(weights: Any, row: Any, even: Any, odd: Any, seq: Any) -> Any:
    """The same for four sequences from `seq` on: weights are converted once."""
    a, b, c, d = np.float32(0), np.float32(0), np.float32(0), np.float32(0)
    for pair in range(even.shape[1]):
        bits = weights[row, pair]
        low, high = to_float32(bits), upper_to_float32(bits)
        a += low * even[seq, pair] + high * odd[seq, pair]
        b += low * even[seq + 1, pair] + high * odd[seq + 1, pair]
        c += low * even[seq + 2, pair] + high * odd[seq + 2, pair]
        d += low * even[seq + 3, pair] + high * odd[seq + 3, pair]
    return a, b, c, d


@njit
def _matmul_by_vectors(
    matrix: Any, x_addr: Any, scratch: Any, out: Any, first: Any, begin: Any, end: Any
) -> None:
    if matrix.kind == INT4:
        matmul_int4(matrix, x_addr, scratch, out, first, begin, end)
    elif matrix.kind == INT8:
        matmul_int8(matrix, x_addr, out, first, begin, end)
    elif matrix.kind == INT8_DYNAMIC:
        matmul_int8_dynamic(matrix, x_addr, scratch, out, first, begin, end)
    else:
        _matmul_bf16(matrix, x_addr, out, first, begin, end)


@njit
def _outliers_after(
    matrix: Any, x_addr: Any, scratch: Any, out: Any, first: Any, begin: Any, end: Any
) -> None:
    if matrix.kind == INT8_DYNAMIC and matrix.outlier:
        add_outliers(matrix, x_addr, scratch, out, first, begin, end)


@njit
def _nothing_after(
    matrix: Any, x_addr: Any, scratch: Any, out: Any, first: Any, begin: Any, end: Any
) -> None:
    """Plain weights have no outliers."""


_matmul = _matmul_by_vectors if HAS_VECTORS else _matmul_by_pairs
_after = _outliers_after if HAS_VECTORS else _nothing_after

dots = _dots_by_vectors if HAS_VECTORS else _dots_by_loops
"""(x, rows, scratch, out): dot products of x [size], bf16 kept as float32, with bf16 rows [n, size];
scratch [size]."""

lay_out = store_bf16 if HAS_VECTORS else store_by_parity
"""(x, address): store bf16 values [batch, size] as `matmul` reads them, in memory for as many float32."""


@njit
def matmul(matrix: Any, x_addr: Any, scratch: Any, out: Any, first: Any, thread: Any, threads: Any) -> None:
    """This thread's rows of x Wᵀ + b, rounded, to the columns of `out` [batch, some] from `first` on.

    `x_addr` is where x was laid out; `scratch` has MATMUL_SCRATCH float32 per column and sequence.
    """
    begin, end = row_range(matrix.rows, thread, threads)
    _matmul(matrix, x_addr, scratch, out, first, begin, end)
    bias = carray(bf16_at(matrix.bias), matrix.rows)
    for seq in range(out.shape[0]):
        if matrix.bias:
            for row in range(begin, end):
                out[seq, first + row] += to_float32(bias[row])
        for row in range(begin, end):
            out[seq, first + row] = round_bf16(out[seq, first + row])
    _after(matrix, x_addr, scratch, out, first, begin, end)


def _dequantize_rows(address: Any) -> None:
    """Dequantize one thread's rows to bf16 columns; OpenMP calls it in every thread of a team."""
    task = carray(address, 1)[0]
    matrix, row_bytes = task.matrix, 2 * task.matrix.rows
    groups, words = matrix.columns // matrix.group, matrix.group // 8
    begin, end = row_range(matrix.rows, thread_number(), thread_count())
    for row in range(begin, end, BLOCK):
        weights = matrix.weights + np.uint64(row * matrix.columns // 2)
        scales, out = matrix.scales + np.uint64(2 * row * groups), task.out + np.uint64(2 * row)
        if matrix.zeros:
            zeros = matrix.zeros + np.uint64(2 * row * groups)
            _dequantize_with_zeros(weights, scales, zeros, matrix.code_book, out, row_bytes, groups, words)
        else:
            _dequantize(weights, scales, scales, matrix.code_book, out, row_bytes, groups, words)


def _multiply_rows(address: Any) -> None:
    """One thread's rows of x Wᵀ + b, as a step computes them; OpenMP calls it in every thread of a team."""
    task = carray(address, 1)[0]
    matrix, thread = task.matrix, thread_number()
    sums = row_address(task.sums, 4 * task.batch * (matrix.columns // matrix.group), thread)
    out = carray(float32_at(task.out), (task.batch, matrix.rows))
    matmul(matrix, task.x, sums, out, 0, thread, thread_count())


_MULTIPLY = types.void(types.CPointer(from_dtype(MULTIPLY)))
multiply = cfunc(_MULTIPLY, cache=True)(_multiply_rows) if HAS_VECTORS else None

_DEQUANTIZE = types.void(types.CPointer(from_dtype(DEQUANTIZE)))
dequantize = cfunc(_DEQUANTIZE, cache=True)(_dequantize_rows) if HAS_VECTORS else None
