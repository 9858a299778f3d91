# ruff: noqa: PLR0913, PLR0917  # compiled functions are given arrays, not objects
"""A thread's rows of y = x Wᵀ + b, compiled, with weights of 16, 8 or 4 bits.

Owns what a matrix is to compiled code, and how the values that are multiplied with it lie in memory. Sums
are float32, results are rounded to bf16. Where the processor has the instructions of `avx512`,
values are bf16, one after another. Otherwise weights are bf16, and values float32, apart by the parity of
their index, "even" and "odd": two weights are then one 32-bit load, a shift and a mask, which every
processor does for many at once. Knows neither torch nor what is computed with products.
"""

from typing import Any

import numpy as np
from numba import carray, cfunc, from_dtype, njit, types

from engine.worker.step.cpu.kernels import avx512, int4
from engine.worker.step.cpu.kernels.int4 import multiply_nibbles
from engine.worker.step.cpu.kernels.int8 import add_outliers, multiply_bytes, multiply_rounded
from engine.worker.step.cpu.kernels.team import thread_count, thread_number
from engine.worker.step.cpu.kernels.values import (
    ADDRESS,
    BLOCK,
    COUNT,
    SUMS,
    apart,
    bf16_at,
    by_parity,
    one_after_another,
    pairs_at,
    place_at,
    rounded,
    row_at,
    share,
    upper,
    wide,
)

BF16, NIBBLES, BYTES, DYNAMIC_BYTES = range(4)
"""Kinds of weights. Dynamic: inputs are rounded to int8, too (LLM.int8, Dettmers et al. 2022, section 3)."""

MATRIX = np.dtype(
    [
        ("kind", COUNT),
        ("weights", ADDRESS),  # [rows, columns], or words of nibbles [rows / 16, columns / 8, 16]
        ("bias", ADDRESS),  # bf16 [rows], or 0
        ("rows", COUNT),
        ("columns", COUNT),
        ("group", COUNT),  # nibbles: columns that share a scale
        (
            "scales",
            ADDRESS,
        ),  # nibbles: bf16 [rows / 16, groups, 16]; bytes: [rows], bf16 or, dynamic, float32
        ("zeros", ADDRESS),  # nibbles: as scales, what a group's inputs are multiplied with besides; or 0
        ("codes", ADDRESS),  # nibbles: bf16 [2, 16], what they stand for
        ("outlier", np.float32),  # dynamic: inputs from there on are not rounded; or 0
    ]
)

WIDENING = np.dtype([("matrix", MATRIX), ("out", ADDRESS)])
"""4-bit weights, and where they are wanted as bf16 [columns, rows]."""

SEQUENCES_AT_ONCE = int4.SEQUENCES_AT_ONCE
HAS_VECTORS = avx512.are_available()

_row_dot = avx512.row_dots(1)
_row_dots = avx512.row_dots(SEQUENCES_AT_ONCE)
_widened = avx512.nibbles_widened(has_zeros=False)
_widened_with_zeros = avx512.nibbles_widened(has_zeros=True)


@njit
def _multiply_rows(matrix: Any, at: Any, out: Any, first: Any, begin: Any, end: Any) -> None:
    """bf16 weights, by vectors."""
    batch, width = out.shape
    row_bytes, out_bytes, vectors = 2 * matrix.columns, 4 * width, matrix.columns // 32
    places = np.uint64(out.ctypes.data) + np.uint64(4 * first)
    many = batch - batch % SEQUENCES_AT_ONCE
    for row in range(begin, end):
        weights = matrix.weights + np.uint64(row * row_bytes)
        for of in range(0, many, SEQUENCES_AT_ONCE):
            x, place = row_at(at, row_bytes, of), place_at(places, width, of, row)
            _row_dots(weights, x, row_bytes, place, out_bytes, vectors)
        for of in range(many, batch):
            x, place = row_at(at, row_bytes, of), place_at(places, width, of, row)
            _row_dot(weights, x, row_bytes, place, out_bytes, vectors)


@njit(fastmath=SUMS)
def _dots_by_loops(x: Any, rows: Any, room: Any, out: Any) -> None:
    for row in range(rows.shape[0]):
        total = np.float32(0)
        for i in range(rows.shape[1]):
            total += x[i] * wide(rows[row, i])
        out[row] = total


@njit
def _dots_by_vectors(x: Any, rows: Any, room: Any, out: Any) -> None:
    count, size = rows.shape
    if size % 32:
        _dots_by_loops(x, rows, room, out)
        return
    at = np.uint64(room.ctypes.data)
    one_after_another(x.reshape(1, size), at)
    rows_at, out_at = np.uint64(rows.ctypes.data), np.uint64(out.ctypes.data)
    for row in range(count):
        _row_dot(row_at(rows_at, 2 * size, row), at, 0, row_at(out_at, 4, row), 0, size // 32)


@njit
def _by_pairs(matrix: Any, at: Any, spare: Any, out: Any, first: Any, begin: Any, end: Any) -> None:
    """bf16 weights, on any processor."""
    batch = out.shape[0]
    weights = carray(pairs_at(matrix.weights), (matrix.rows, matrix.columns // 2))
    even, odd = by_parity(at, batch, matrix.columns)
    many = batch - batch % SEQUENCES_AT_ONCE
    for row in range(begin, end):
        for of in range(0, many, SEQUENCES_AT_ONCE):
            a, b, c, d = _four_dots(weights, row, even, odd, of)
            out[of, first + row], out[of + 1, first + row] = a, b
            out[of + 2, first + row], out[of + 3, first + row] = c, d
        for of in range(many, batch):
            out[of, first + row] = _dot(weights, row, even, odd, of)


@njit(fastmath=SUMS)
def _dot(weights: Any, row: Any, even: Any, odd: Any, of: Any) -> Any:
    """One row's product with the values of sequence `of`."""
    low, high = np.float32(0), np.float32(0)
    for pair in range(even.shape[1]):
        bits = weights[row, pair]
        low += wide(bits) * even[of, pair]
        high += upper(bits) * odd[of, pair]
    return low + high


@njit(fastmath=SUMS)
def _four_dots(weights: Any, row: Any, even: Any, odd: Any, of: Any) -> Any:
    """The same for four sequences from `of` on: weights are widened once."""
    a, b, c, d = np.float32(0), np.float32(0), np.float32(0), np.float32(0)
    for pair in range(even.shape[1]):
        bits = weights[row, pair]
        low, high = wide(bits), upper(bits)
        a += low * even[of, pair] + high * odd[of, pair]
        b += low * even[of + 1, pair] + high * odd[of + 1, pair]
        c += low * even[of + 2, pair] + high * odd[of + 2, pair]
        d += low * even[of + 3, pair] + high * odd[of + 3, pair]
    return a, b, c, d


@njit
def _by_vectors(matrix: Any, at: Any, spare: Any, out: Any, first: Any, begin: Any, end: Any) -> None:
    if matrix.kind == NIBBLES:
        multiply_nibbles(matrix, at, spare, out, first, begin, end)
    elif matrix.kind == BYTES:
        multiply_bytes(matrix, at, out, first, begin, end)
    elif matrix.kind == DYNAMIC_BYTES:
        multiply_rounded(matrix, at, spare, out, first, begin, end)
    else:
        _multiply_rows(matrix, at, out, first, begin, end)


@njit
def _outliers_behind(matrix: Any, at: Any, spare: Any, out: Any, first: Any, begin: Any, end: Any) -> None:
    if matrix.kind == DYNAMIC_BYTES and matrix.outlier:
        add_outliers(matrix, at, spare, out, first, begin, end)


@njit
def _nothing_behind(matrix: Any, at: Any, spare: Any, out: Any, first: Any, begin: Any, end: Any) -> None:
    """Plain weights have no outliers."""


_multiply = _by_vectors if HAS_VECTORS else _by_pairs
_behind = _outliers_behind if HAS_VECTORS else _nothing_behind

dots = _dots_by_vectors if HAS_VECTORS else _dots_by_loops
"""(x, rows, room, out): products of x [size], bf16 kept as float32, with bf16 rows [n, size]; room [size]."""

lay_out = one_after_another if HAS_VECTORS else apart
"""(x, address): lay bf16 values [batch, size] as products want them, where as many float32 have room."""


@njit
def multiply(matrix: Any, at: Any, spare: Any, out: Any, first: Any, thread: Any, threads: Any) -> None:
    """This thread's rows of x Wᵀ + b, rounded, to the columns of `out` [batch, some] from `first` on.

    `at` is where x was laid out; at `spare` there is room for SPARE float32 a column and sequence.
    """
    begin, end = share(matrix.rows, thread, threads)
    _multiply(matrix, at, spare, out, first, begin, end)
    bias = carray(bf16_at(matrix.bias), matrix.rows)
    for of in range(out.shape[0]):
        if matrix.bias:
            for row in range(begin, end):
                out[of, first + row] += wide(bias[row])
        for row in range(begin, end):
            out[of, first + row] = rounded(out[of, first + row])
    _behind(matrix, at, spare, out, first, begin, end)


def _widen(address: Any) -> None:
    """One thread's rows of 4-bit weights, as bf16 columns; OpenMP calls it in every thread of a team."""
    wanted = carray(address, 1)[0]
    matrix, row_bytes = wanted.matrix, 2 * wanted.matrix.rows
    groups, words = matrix.columns // matrix.group, matrix.group // 8
    begin, end = share(matrix.rows, thread_number(), thread_count())
    for row in range(begin, end, BLOCK):
        weights = matrix.weights + np.uint64(row * matrix.columns // 2)
        scales, out = matrix.scales + np.uint64(2 * row * groups), wanted.out + np.uint64(2 * row)
        if matrix.zeros:
            zeros = matrix.zeros + np.uint64(2 * row * groups)
            _widened_with_zeros(weights, scales, zeros, matrix.codes, out, row_bytes, groups, words)
        else:
            _widened(weights, scales, scales, matrix.codes, out, row_bytes, groups, words)


_ONE_WIDENING = types.void(types.CPointer(from_dtype(WIDENING)))
widen = cfunc(_ONE_WIDENING, cache=True)(_widen) if HAS_VECTORS else None
