# ruff: noqa: PLR0913, PLR0917  # compiled functions are given arrays, not objects
"""A thread's rows of y = x Wᵀ + b, compiled, with weights of 16, 8 or 4 bits.

Owns what a matrix is to compiled code, and how the values that are multiplied with it lie in memory. Sums
are float32, results are rounded to bf16. Where the processor has the instructions of `fused_vectors`,
values are bf16, one after another. Otherwise weights are bf16, and values float32, apart by the parity of
their index, "even" and "odd": two weights are then one 32-bit load, a shift and a mask, which every
processor does for many at once. Knows neither torch nor what is computed with products.
"""

from typing import Any

import numpy as np
from numba import carray, cfunc, from_dtype, njit, types
from numba.extending import intrinsic

from engine.worker import fused_vectors
from engine.worker.fused_team import thread_count, thread_number

ADDRESS = np.uint64
COUNT = np.int64

BF16, NIBBLES, BYTES, DYNAMIC_BYTES = range(4)
"""Kinds of weights. Dynamic: inputs are rounded to int8, too (LLM.int8, Dettmers et al. 2022, section 3)."""

MATRIX = np.dtype(
    [
        ("kind", COUNT),
        (
            "weights",
            ADDRESS,
        ),  # bf16 or int8 [rows, columns], or words of nibbles [rows / 16, columns / 8, 16]
        ("bias", ADDRESS),  # bf16 [rows], or 0
        ("rows", COUNT),
        ("columns", COUNT),
        ("group", COUNT),  # nibbles: columns that share a scale
        (
            "scales",
            ADDRESS,
        ),  # nibbles: bf16 [rows / 16, groups, 16]; bytes: bf16 [rows], dynamic ones: float32
        ("zeros", ADDRESS),  # nibbles: as scales, what a group's inputs are multiplied with besides; or 0
        ("codes", ADDRESS),  # nibbles: bf16 [2, 16], what they stand for
        ("outlier", np.float32),  # dynamic: inputs from there on are not rounded; or 0
    ]
)

WIDENING = np.dtype([("matrix", MATRIX), ("out", ADDRESS)])
"""4-bit weights, and where they are wanted as bf16 [columns, rows]."""

SUMS = {"reassoc", "contract", "nsz", "arcp"}  # sums in any order; infinities stay what they are
SEQUENCES_AT_ONCE = 4
HAS_VECTORS = fused_vectors.are_available()
_BLOCK = fused_vectors.LANES  # rows that stay together
SPARE = 2
_OVER_127, _OVER_127_SQUARED = (
    np.float32(7.874015718698502e-3),
    np.float32(6.200124e-05),
)  # as bitsandbytes has them
_BF16_HALF, _BF16_MASK = np.uint32(0x7FFF), np.uint32(0xFFFF0000)

_row_dot = fused_vectors.row_dots(1)
_row_dots = fused_vectors.row_dots(SEQUENCES_AT_ONCE)
_nibbles = fused_vectors.nibble_dots(1, has_zeros=False)
_nibbles_of_all = fused_vectors.nibble_dots(SEQUENCES_AT_ONCE, has_zeros=False)
_nibbles_and_zeros = fused_vectors.nibble_dots(1, has_zeros=True)
_byte_dot = fused_vectors.byte_dot()
_integer_dot = fused_vectors.integer_dot()
_widened = fused_vectors.nibbles_widened(has_zeros=False)
_widened_with_zeros = fused_vectors.nibbles_widened(has_zeros=True)
_nibbles_and_zeros_of_all = fused_vectors.nibble_dots(SEQUENCES_AT_ONCE, has_zeros=True)


def pointer(kind: types.Type) -> Any:
    """A function from an address to a pointer at values of this kind."""

    @intrinsic
    def at(context: Any, address: Any) -> Any:
        def generate(context: Any, builder: Any, signature: Any, values: Any) -> Any:
            return builder.inttoptr(values[0], context.get_value_type(signature.return_type))

        return types.CPointer(kind)(address), generate

    return at


bf16_at, floats_at = pointer(types.uint16), pointer(types.float32)
_pairs_at, _bytes_at = pointer(types.uint32), pointer(types.int8)
_shorts_at, _integers_at = pointer(types.int16), pointer(types.int32)


@njit(inline="always")
def rounded(x: Any) -> Any:
    """To bf16, ties to even, kept as float32."""
    bits = np.float32(x).view(np.uint32)
    bits = np.uint32(bits + _BF16_HALF + ((bits >> np.uint32(16)) & np.uint32(1)))
    return np.uint32(bits & _BF16_MASK).view(np.float32)


@njit(inline="always")
def wide(bits: Any) -> Any:
    """A bf16 as float32."""
    return np.uint32(np.uint32(bits) << np.uint32(16)).view(np.float32)


@njit(inline="always")
def narrow(x: Any) -> Any:
    """A float32 that holds a bf16, as that."""
    return np.uint16(np.float32(x).view(np.uint32) >> np.uint32(16))


@njit(inline="always")
def _second(bits: Any) -> Any:
    """The upper of two bf16 in a word, as float32; the lower one is `wide`."""
    return np.uint32(bits & _BF16_MASK).view(np.float32)


@njit(inline="always")
def share(count: Any, thread: Any, threads: Any) -> Any:
    """First and behind the last of the rows, or columns, that one thread of many does: whole blocks."""
    blocks = (count + _BLOCK - 1) // _BLOCK
    return _BLOCK * (blocks * thread // threads), min(count, _BLOCK * (blocks * (thread + 1) // threads))


@njit
def _one_after_another(x: Any, at: Any) -> None:
    """Values [batch, size] that are bf16, as that, to an address."""
    batch, size = x.shape
    values = carray(bf16_at(at), (batch, size))
    for of in range(batch):
        for i in range(size):
            values[of, i] = narrow(x[of, i])


@njit
def _apart(x: Any, at: Any) -> None:
    """Values [batch, size] by parity, to an address."""
    batch, size = x.shape
    even, odd = _by_parity(at, batch, size)
    for of in range(batch):
        for pair in range(size // 2):
            even[of, pair], odd[of, pair] = x[of, 2 * pair], x[of, 2 * pair + 1]


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
            x, place = _row(at, row_bytes, of), _place(places, width, of, row)
            _row_dots(weights, x, row_bytes, place, out_bytes, vectors)
        for of in range(many, batch):
            x, place = _row(at, row_bytes, of), _place(places, width, of, row)
            _row_dot(weights, x, row_bytes, place, out_bytes, vectors)


@njit
def _multiply_nibbles(matrix: Any, at: Any, spare: Any, out: Any, first: Any, begin: Any, end: Any) -> None:
    """4-bit weights, a block of rows at once."""
    batch, width = out.shape
    x_bytes, out_bytes = 2 * matrix.columns, 4 * width
    groups, words = matrix.columns // matrix.group, matrix.group // 8
    places = np.uint64(out.ctypes.data) + np.uint64(4 * first)
    many = batch - batch % SEQUENCES_AT_ONCE
    if matrix.zeros:
        _sum_groups(matrix, at, carray(floats_at(spare), (batch, groups)))
    for row in range(begin, end, _BLOCK):
        weights = matrix.weights + np.uint64(row * matrix.columns // 2)
        scales = matrix.scales + np.uint64(2 * row * groups)
        for of in range(0, many, SEQUENCES_AT_ONCE):
            x, place = _row(at, x_bytes, of), _place(places, width, of, row)
            if matrix.zeros:
                zeros, sums = matrix.zeros + np.uint64(2 * row * groups), _row(spare, 4 * groups, of)
                _nibbles_and_zeros_of_all(
                    weights, scales, zeros, matrix.codes, x, x_bytes, sums, place, out_bytes, groups, words
                )
            else:
                _nibbles_of_all(
                    weights, scales, scales, matrix.codes, x, x_bytes, x, place, out_bytes, groups, words
                )
        for of in range(many, batch):
            x, place = _row(at, x_bytes, of), _place(places, width, of, row)
            if matrix.zeros:
                zeros, sums = matrix.zeros + np.uint64(2 * row * groups), _row(spare, 4 * groups, of)
                _nibbles_and_zeros(
                    weights, scales, zeros, matrix.codes, x, x_bytes, sums, place, out_bytes, groups, words
                )
            else:
                _nibbles(
                    weights, scales, scales, matrix.codes, x, x_bytes, x, place, out_bytes, groups, words
                )


@njit(inline="always")
def _row(at: Any, row_bytes: Any, number: Any) -> Any:
    """The address of one row of many."""
    return at + np.uint64(row_bytes * number)


@njit(inline="always")
def _place(places: Any, width: Any, of: Any, column: Any) -> Any:
    """The address of one of many float32 [some, width] that begin at `places`."""
    return places + np.uint64(4 * (of * width + column))


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


@njit
def _multiply_bytes(matrix: Any, at: Any, out: Any, first: Any, begin: Any, end: Any) -> None:
    """int8 weights with a scale a row."""
    batch, width = out.shape
    scales = carray(bf16_at(matrix.scales), matrix.rows)
    places = np.uint64(out.ctypes.data) + np.uint64(4 * first)
    for row in range(begin, end):
        weights = matrix.weights + np.uint64(row * matrix.columns)
        for of in range(batch):
            x = _row(at, 2 * matrix.columns, of)
            _byte_dot(weights, x, _place(places, width, of, row), matrix.columns // 32)
            out[of, first + row] *= wide(scales[row])


@njit
def _multiply_rounded(matrix: Any, at: Any, spare: Any, out: Any, first: Any, begin: Any, end: Any) -> None:
    """int8 weights with inputs that are rounded to int8 by their sequence's largest, outliers left out."""
    batch, columns = out.shape[0], matrix.columns
    scales = carray(floats_at(matrix.scales), matrix.rows)
    for of in range(batch):
        x_at = _row(spare, 4 * SPARE * columns, of)
        most = _round_inputs(matrix, carray(bf16_at(_row(at, 2 * columns, of)), columns), x_at)
        sum_at = x_at + np.uint64(2 * columns)  # an int32 behind the rounded inputs
        total = carray(_integers_at(sum_at), 1)
        for row in range(begin, end):
            _integer_dot(matrix.weights + np.uint64(row * columns), x_at, sum_at, columns // 32)
            out[of, first + row] = np.float32(total[0]) * (most * scales[row]) * _OVER_127_SQUARED


@njit
def _round_inputs(matrix: Any, x: Any, x_at: Any) -> Any:
    """Round one sequence's inputs, all but outliers, as int16 to an address; returns the largest of them."""
    rounded_x, outlier = carray(_shorts_at(x_at), matrix.columns), matrix.outlier
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
def _add_outliers(matrix: Any, at: Any, spare: Any, out: Any, first: Any, begin: Any, end: Any) -> None:
    """What the outliers add: a few columns, whose weights are widened to bf16."""
    columns = matrix.columns
    weights = carray(_bytes_at(matrix.weights), (matrix.rows, columns))
    scales = carray(floats_at(matrix.scales), matrix.rows)
    for of in range(out.shape[0]):
        x = carray(bf16_at(_row(at, 2 * columns, of)), columns)
        found = carray(_integers_at(_row(spare, 4 * SPARE * columns, of)), columns)
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
    _one_after_another(x.reshape(1, size), at)
    rows_at, out_at = np.uint64(rows.ctypes.data), np.uint64(out.ctypes.data)
    for row in range(count):
        _row_dot(_row(rows_at, 2 * size, row), at, 0, _row(out_at, 4, row), 0, size // 32)


@njit
def _by_parity(address: Any, batch: Any, size: Any) -> Any:
    """Room for [batch, size] values apart by parity: two arrays [batch, size / 2]."""
    pairs = size // 2
    even = carray(floats_at(address), (batch, pairs))
    return even, carray(floats_at(address + np.uint64(4 * batch * pairs)), (batch, pairs))


@njit
def _multiply_pairs(matrix: Any, at: Any, out: Any, first: Any, begin: Any, end: Any) -> None:
    """bf16 weights, on any processor."""
    batch = out.shape[0]
    weights = carray(_pairs_at(matrix.weights), (matrix.rows, matrix.columns // 2))
    even, odd = _by_parity(at, batch, matrix.columns)
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
        high += _second(bits) * odd[of, pair]
    return low + high


@njit(fastmath=SUMS)
def _four_dots(weights: Any, row: Any, even: Any, odd: Any, of: Any) -> Any:
    """The same for four sequences from `of` on: weights are widened once."""
    a, b, c, d = np.float32(0), np.float32(0), np.float32(0), np.float32(0)
    for pair in range(even.shape[1]):
        bits = weights[row, pair]
        low, high = wide(bits), _second(bits)
        a += low * even[of, pair] + high * odd[of, pair]
        b += low * even[of + 1, pair] + high * odd[of + 1, pair]
        c += low * even[of + 2, pair] + high * odd[of + 2, pair]
        d += low * even[of + 3, pair] + high * odd[of + 3, pair]
    return a, b, c, d


@njit
def _by_vectors(matrix: Any, at: Any, spare: Any, out: Any, first: Any, begin: Any, end: Any) -> None:
    if matrix.kind == NIBBLES:
        _multiply_nibbles(matrix, at, spare, out, first, begin, end)
    elif matrix.kind == BYTES:
        _multiply_bytes(matrix, at, out, first, begin, end)
    elif matrix.kind == DYNAMIC_BYTES:
        _multiply_rounded(matrix, at, spare, out, first, begin, end)
    else:
        _multiply_rows(matrix, at, out, first, begin, end)


@njit
def _by_pairs(matrix: Any, at: Any, spare: Any, out: Any, first: Any, begin: Any, end: Any) -> None:
    _multiply_pairs(matrix, at, out, first, begin, end)


@njit
def _outliers_behind(matrix: Any, at: Any, spare: Any, out: Any, first: Any, begin: Any, end: Any) -> None:
    if matrix.kind == DYNAMIC_BYTES and matrix.outlier:
        _add_outliers(matrix, at, spare, out, first, begin, end)


@njit
def _nothing_behind(matrix: Any, at: Any, spare: Any, out: Any, first: Any, begin: Any, end: Any) -> None:
    """Plain weights have no outliers."""


_multiply = _by_vectors if HAS_VECTORS else _by_pairs
_behind = _outliers_behind if HAS_VECTORS else _nothing_behind


dots = _dots_by_vectors if HAS_VECTORS else _dots_by_loops
"""(x, rows, room, out): products of x [size], bf16 kept as float32, with bf16 rows [n, size]; room [size]."""

lay_out = _one_after_another if HAS_VECTORS else _apart
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
    for row in range(begin, end, _BLOCK):
        weights = matrix.weights + np.uint64(row * matrix.columns // 2)
        scales, out = matrix.scales + np.uint64(2 * row * groups), wanted.out + np.uint64(2 * row)
        if matrix.zeros:
            zeros = matrix.zeros + np.uint64(2 * row * groups)
            _widened_with_zeros(weights, scales, zeros, matrix.codes, out, row_bytes, groups, words)
        else:
            _widened(weights, scales, scales, matrix.codes, out, row_bytes, groups, words)


_ONE_WIDENING = types.void(types.CPointer(from_dtype(WIDENING)))
widen = cfunc(_ONE_WIDENING, cache=True)(_widen) if HAS_VECTORS else None
