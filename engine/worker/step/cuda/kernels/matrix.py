"""A few rows multiplied by a matrix, however its weights are held: the part that all kernels share.

Owns the layouts as kernels read them. One token is bound by memory, so weights are multiplied where they are
loaded, in float32, without tensor cores. Nothing is known here of layers.

A thread has the same eight columns of all of a program's rows: what it makes of its inputs serves every row,
and no thread waits for another before the end.

Triton spreads each load over the threads by itself, by what it is told of the pointers, and versions differ.
`multiple_of` and `max_contiguous` say what makes all loads go one way: a chunk a thread, the next to the next
thread. They must stand where a pointer is made: of an argument they are forgotten.
"""

from typing import Any, NamedTuple

import triton
import triton.language as tl

from engine.worker.step.cuda.kernels.floats import added, bits, eight, int4, int8, spread, sum_of

PLAIN = tl.constexpr(0)
"""[rows, columns] of floats."""
INT8_DYNAMIC = tl.constexpr(1)
"""LLM.int8: int8 [rows, columns], a scale a row; inputs are rounded to int8, too, but for outliers."""
INT4 = tl.constexpr(2)
"""[rows, columns / 2] bytes, column 2j in the high half of byte j: weight = code[int4] · scale + zero."""
CHUNK = 8
"""Columns of a thread. Every matrix has a multiple of it, and so has every group."""


class Matrix(NamedTuple):
    """A matrix in memory. What a layout does not have is None; all rows share a kind and a group size."""

    weights: Any
    rows: int
    bias: Any = None
    """[rows]."""
    scales: Any = None
    """[rows, groups], or bytes that index `nested_code`."""
    zeros: Any = None
    """[rows, groups]."""
    code: Any = None
    """float32 [16]: the values of `INT4`; None is −8 to 7."""
    nested_code: Any = None
    """float32 [256]: scales that are quantized, too, are nested_code[scale] · nested_scale + offset."""
    nested_scales: Any = None
    """float32: one for each 256 scales, over all rows."""
    offset: float = 0.0
    order: Any = None
    """int32 [columns]: which input each column multiplies; None is the plain order."""
    threshold: float = 0.0
    """Inputs of `INT8_DYNAMIC` from here on are outliers; 0 is none."""


@triton.jit
def multiplied(
    x, norm, epsilon, batch, matrix, row,
    K: tl.constexpr, GROUP: tl.constexpr, KIND: tl.constexpr,
    B: tl.constexpr, ROWS: tl.constexpr, BLOCK: tl.constexpr, WHOLE: tl.constexpr,
):  # fmt: skip
    """x [batch, K], times 1 / its root mean square and `norm` [K] where that is given, by rows of a matrix.

    [B, ROWS] float32, from `row` on. GROUP columns have one scale. BLOCK columns are read at once. WHOLE: all
    rows exist, in every program, and K is a multiple of BLOCK.
    """
    nought = matrix.rows >> 31  # that a compiler does not know is 0: what it is part of stays in a register
    code = matrix.code
    if code is not None:
        code = spread(code)
    if KIND == 1:
        rms, absmax = _extent(x, norm, epsilon, batch, matrix.threshold, K, B, BLOCK, WHOLE)
    total = tl.zeros([B, ROWS, BLOCK // 8], tl.float32)
    squares = tl.zeros([B, 1, BLOCK // 8], tl.float32)
    for first in range(0, K, BLOCK):
        chunks = first // 8 + tl.arange(0, BLOCK // 8)[None, None, :]
        held = _held(matrix, row, chunks, K, GROUP, KIND, ROWS, WHOLE)
        if KIND == 1:
            a = _rounded(x, norm, rms, absmax, batch, matrix.threshold, chunks, K, B, WHOLE)
            total = added(total - 384.0 * sum_of(a), int8(held[0], nought), a)
        else:
            a, squared = _input(x, norm, batch, matrix.order, chunks, K, B, WHOLE)
            squares += squared
            if KIND == 0:
                total = added(total, eight(held[0].to(tl.float32)), a)
            else:
                total += _int4_products(matrix, held, code, a, nought)
                if matrix.zeros is not None:
                    total += sum_of(a) * held[2].to(tl.float32)
    result = tl.sum(total, 2)
    rows = row + tl.arange(0, ROWS)
    if KIND == 1:
        scale = tl.load(matrix.scales + rows, mask=rows < matrix.rows, other=0.0).to(tl.float32) / 127.0
        result *= scale[None, :]
    elif norm is not None:
        result *= tl.rsqrt(tl.sum(tl.sum(squares, 2), 1) / K + epsilon)[:, None]
    if matrix.bias is not None:
        result += tl.load(matrix.bias + rows, mask=rows < matrix.rows, other=0.0).to(tl.float32)[None, :]
    return result


@triton.jit
def _int4_products(matrix, held, code, a, nought):
    """Of eight columns with `a`, but for zeros: sums [B, rows, chunks]."""
    start = tl.zeros_like(a[0])
    if code is None:  # what `int4` adds, and the 8 that stands for 0
        start -= 24.0 * (a[0] + a[2] + a[4] + a[6]) + 264.0 * (a[1] + a[3] + a[5] + a[7])
    word = held[0] ^ (bits(held[1]) & nought)  # so that scales are not loaded after it is used
    return added(start, int4(word, code, nought), a) * _scale(matrix, held)


@triton.jit
def _input(x, norm, batch, order, chunks, K: tl.constexpr, B: tl.constexpr, WHOLE: tl.constexpr):
    """What the columns of `chunks` multiply, eight [B, 1, chunks]; the sum of their squares before `norm`."""
    a, columns, exists = _read(x, batch, order, chunks, K, B, WHOLE)
    a = a.to(tl.float32)
    squared = tl.sum(a * a, 3)
    if norm is not None:
        a *= _weight(norm, order, columns, exists, WHOLE).to(tl.float32)
    return eight(a), squared


@triton.jit
def _read(x, batch, order, chunks, K: tl.constexpr, B: tl.constexpr, WHOLE: tl.constexpr):
    """x [B, 1, chunks, 8], which columns those are, and which of them exist."""
    columns = chunks[:, :, :, None] * 8 + tl.arange(0, 8)[None, None, None, :]
    exists = columns < K
    b = tl.arange(0, B)[:, None, None, None]
    if order is not None:
        columns = tl.load(order + columns, mask=exists, other=0)
        a = tl.load(x + (b * K + columns), mask=(b < batch) & exists, other=0.0)
    elif WHOLE and B == 1:
        a = tl.load(tl.max_contiguous(x + columns, [1, 1, 2, 8]))
    else:
        at = tl.max_contiguous(x + (b * K + columns), [1, 1, 2, 8])
        a = tl.load(at, mask=(b < batch) & exists, other=0.0)
    return a, columns, exists


@triton.jit
def _weight(norm, order, columns, exists, WHOLE: tl.constexpr):
    """Of a norm."""
    if order is not None:
        return tl.load(norm + columns, mask=exists, other=0.0)
    return _some(tl.max_contiguous(norm + columns, [1, 1, 2, 8]), exists, WHOLE)


@triton.jit
def _some(at, exists, WHOLE: tl.constexpr):
    """What exists; WHOLE: all."""
    if WHOLE:
        return tl.load(at)
    return tl.load(at, mask=exists, other=0)


@triton.jit
def _held(
    matrix, row, chunks,
    K: tl.constexpr, GROUP: tl.constexpr, KIND: tl.constexpr, ROWS: tl.constexpr, WHOLE: tl.constexpr,
):  # fmt: skip
    """BLOCK columns of ROWS rows as they lie in memory, with what their scale and zero are made of."""
    r = tl.arange(0, ROWS)[None, :, None]
    exist = (chunks < K // 8) & (WHOLE | (row + r < matrix.rows))
    begin = row.to(tl.int64)  # what is known when this is compiled, the rows' distance, is added last
    if KIND == 0:
        columns = chunks[:, :, :, None] * 8 + tl.arange(0, 8)[None, None, None, :]
        at = (matrix.weights + begin * K) + columns + r[:, :, :, None] * K
        w = _once(tl.max_contiguous(at, [1, 1, 2, 8]), exist[:, :, :, None], WHOLE)
    elif KIND == 1:
        words = matrix.weights.to(tl.pointer_type(tl.int64), bitcast=True)
        at = (words + begin * (K // 8)) + chunks + r * (K // 8)
        w = _once(tl.max_contiguous(tl.multiple_of(at, [1, 1, 8]), [1, 1, 2]), exist, WHOLE)
    else:
        words = matrix.weights.to(tl.pointer_type(tl.int32), bitcast=True)
        at = (words + begin * (K // 8)) + chunks + r * (K // 8)
        w = _once(tl.max_contiguous(tl.multiple_of(at, [1, 1, 4]), [1, 1, 2]), exist, WHOLE)
    scale, zero, outer = w, w, w
    if KIND == 2:
        GROUPS: tl.constexpr = (K + GROUP - 1) // GROUP
        at = (begin * GROUPS + chunks * 8 // GROUP) + r * GROUPS
        scale = _of_groups(matrix.scales, at, exist, WHOLE)
        if matrix.zeros is not None:
            zero = _of_groups(matrix.zeros, at, exist, WHOLE)
        if matrix.nested_code is not None:
            outer = _of_groups(matrix.nested_scales, at // 256, exist, WHOLE)
    return w, scale, zero, outer


@triton.jit
def _of_groups(begin, at, exist, WHOLE: tl.constexpr):
    """Scales or zeros, one for each chunk."""
    return _some(tl.max_contiguous(tl.multiple_of(begin + at, [1, 1, 1]), [1, 1, 2]), exist, WHOLE)


@triton.jit
def _once(at, exist, WHOLE: tl.constexpr):
    """Weights, which nobody reads again. WHOLE: what does not exist is not used either."""
    if WHOLE:
        return tl.load(at, eviction_policy="evict_first")
    return tl.load(at, mask=exist, other=0, eviction_policy="evict_first")


@triton.jit
def _scale(matrix, held):
    """Of each row's chunks, [1, rows, chunks]."""
    if matrix.nested_code is not None:
        return tl.load(matrix.nested_code + held[1].to(tl.int32)) * held[3] + matrix.offset
    return held[1].to(tl.float32)


@triton.jit
def _extent(
    x, norm, epsilon, batch, threshold,
    K: tl.constexpr, B: tl.constexpr, BLOCK: tl.constexpr, WHOLE: tl.constexpr,
):  # fmt: skip
    """1 / the root mean square of each input, and its largest number that is no outlier: [B, 1, 1, 1]."""
    rms = tl.full([B, 1, 1, 1], 1.0, tl.float32)
    if norm is not None:
        squares = tl.zeros([B, 1, BLOCK // 8, 8], tl.float32)
        for first in range(0, K, BLOCK):
            chunks = first // 8 + tl.arange(0, BLOCK // 8)[None, None, :]
            a, _columns, _exists = _read(x, batch, None, chunks, K, B, WHOLE)
            a = a.to(tl.float32)
            squares += a * a
        rms = tl.rsqrt(tl.sum(tl.sum(squares, 3), 2) / K + epsilon)[:, :, None, None]
    largest = tl.zeros([B, 1, BLOCK // 8, 8], tl.float32)
    for first in range(0, K, BLOCK):
        a = _normed(x, norm, rms, batch, first // 8 + tl.arange(0, BLOCK // 8)[None, None, :], K, B, WHOLE)
        largest = tl.maximum(largest, tl.where(_is_outlier(a, threshold), 0.0, tl.abs(a)))
    return rms, tl.maximum(tl.max(tl.max(largest, 3), 2), 1e-30)[:, :, None, None]


@triton.jit
def _rounded(
    x, norm, rms, absmax, batch, threshold, chunks, K: tl.constexpr, B: tl.constexpr, WHOLE: tl.constexpr
):
    """Dettmers et al., 2022 (arXiv:2208.07339), § 3: inputs in 255 steps; outliers as they are."""
    a = _normed(x, norm, rms, batch, chunks, K, B, WHOLE)
    # 1.5 · 2²³, added and subtracted, rounds to the nearest whole number, and halves to even ones
    steps = (a * (127.0 / absmax) + 12582912.0) - 12582912.0
    return eight(tl.where(_is_outlier(a, threshold), a, steps * (absmax / 127.0)))


@triton.jit
def _is_outlier(a, threshold):
    return (threshold > 0) & (tl.abs(a) >= threshold)


@triton.jit
def _normed(x, norm, rms, batch, chunks, K: tl.constexpr, B: tl.constexpr, WHOLE: tl.constexpr):
    """Inputs [B, 1, chunks, 8] as the layer gets them, rounded as there."""
    a, columns, exists = _read(x, batch, None, chunks, K, B, WHOLE)
    if norm is not None:
        dtype = a.dtype
        weight = _weight(norm, None, columns, exists, WHOLE)
        a = ((a.to(tl.float32) * rms).to(dtype).to(tl.float32) * weight.to(tl.float32)).to(dtype)
    return a.to(tl.float32)
