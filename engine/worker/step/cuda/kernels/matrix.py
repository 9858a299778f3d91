"""A few rows multiplied by a matrix, however its weights are held: the part that all kernels share.

Owns the layouts as kernels read them. One token is bound by memory, so weights are multiplied where they are
loaded, in float32, without tensor cores. Nothing is known here of layers.

A thread has the same eight columns of all of a program's rows: what it makes of its inputs serves every row,
and no thread waits for another before the end. Whole numbers become floats without a conversion, by their
place among a float's bits: behind the exponent of 2ᵉ, bit 23 − e counts as 1, and the whole as 2ᵉ more. What
that adds to eight products is taken off their sum, once for all rows.

Triton spreads each load over the threads by itself, by what it is told of the pointers, and versions differ.
`multiple_of` and `max_contiguous` say what makes all loads go one way: a chunk a thread, the next to the next
thread. They must stand where a pointer is made: of an argument they are forgotten.
"""

from typing import Any, NamedTuple

import triton
import triton.language as tl

PLAIN = tl.constexpr(0)
"""[rows, columns] of floats."""
INT8_DYNAMIC = tl.constexpr(1)
"""LLM.int8: int8 [rows, columns], a scale a row; inputs are rounded to int8, too, but for outliers."""
INT4 = tl.constexpr(2)
"""[rows, columns / 2] bytes, column 2j in the high half of byte j: weight = code[int4] · scale + zero."""
CHUNK = 8
"""Columns of a thread. Every matrix has a multiple of it, and so has every group."""

_IS_INTERPRETED = tl.constexpr(triton.knobs.runtime.interpret)


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
    if (code is not None) and (not _IS_INTERPRETED):
        code = tl.load(code + _lane() % 16)
    if KIND == 1:
        rms, absmax = _extent(x, norm, epsilon, batch, matrix.threshold, K, B, BLOCK, WHOLE)
    total = tl.zeros([B, ROWS, BLOCK // 8], tl.float32)
    squares = tl.zeros([B, 1, BLOCK // 8], tl.float32)
    for first in range(0, K, BLOCK):
        chunks = first // 8 + tl.arange(0, BLOCK // 8)[None, None, :]
        held = _held(matrix, row, chunks, K, GROUP, KIND, ROWS, WHOLE)
        if KIND == 1:
            a = _rounded(x, norm, rms, absmax, batch, matrix.threshold, chunks, K, B, WHOLE)
            total = _added(total - 384.0 * _sum(a), _int8(held[0], nought), a)
        else:
            a, squared = _input(x, norm, batch, matrix.order, chunks, K, B, WHOLE)
            squares += squared
            if KIND == 0:
                total = _added(total, _eight(held[0].to(tl.float32)), a)
            else:
                start = tl.zeros_like(squares)
                if code is None:
                    start -= 24.0 * (a[0] + a[2] + a[4] + a[6]) + 264.0 * (a[1] + a[3] + a[5] + a[7])
                word = held[0] ^ (_bits(held[1]) & nought)  # so that scales are not loaded after it is used
                total += _added(start, _int4(word, code, nought), a) * _scale(matrix, held)
                if matrix.zeros is not None:
                    total += _sum(a) * held[2].to(tl.float32)
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
def _input(x, norm, batch, order, chunks, K: tl.constexpr, B: tl.constexpr, WHOLE: tl.constexpr):
    """What the columns of `chunks` multiply, eight [B, 1, chunks]; the sum of their squares before `norm`."""
    a, columns, exists = _read(x, batch, order, chunks, K, B, WHOLE)
    a = a.to(tl.float32)
    squared = tl.sum(a * a, 3)
    if norm is not None:
        a *= _weight(norm, order, columns, exists, WHOLE).to(tl.float32)
    return _eight(a), squared


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
def _eight(wide):
    """[n, m, chunks, 8] as eight [n, m, chunks]: numbers that a thread has anyway."""
    n: tl.constexpr = wide.shape[0]
    m: tl.constexpr = wide.shape[1]
    chunks: tl.constexpr = wide.shape[2]
    even, odd = tl.split(tl.reshape(wide, [n, m, chunks, 2, 2, 2]))
    even_low, even_high = tl.split(even)
    odd_low, odd_high = tl.split(odd)
    a, e = tl.split(even_low)
    c, g = tl.split(even_high)
    b, f = tl.split(odd_low)
    d, h = tl.split(odd_high)
    return a, b, c, d, e, f, g, h


@triton.jit
def _sum(a):
    """Of eight."""
    return ((a[0] + a[1]) + (a[2] + a[3])) + ((a[4] + a[5]) + (a[6] + a[7]))


@triton.jit
def _added(total, w, a):
    """The products of eight columns, added to a total."""
    total = w[0] * a[0] + total
    total = w[1] * a[1] + total
    total = w[2] * a[2] + total
    total = w[3] * a[3] + total
    total = w[4] * a[4] + total
    total = w[5] * a[5] + total
    total = w[6] * a[6] + total
    return w[7] * a[7] + total


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
        scale = _some(
            tl.max_contiguous(tl.multiple_of(matrix.scales + at, [1, 1, 1]), [1, 1, 2]), exist, WHOLE
        )
        if matrix.zeros is not None:
            zero = _some(
                tl.max_contiguous(tl.multiple_of(matrix.zeros + at, [1, 1, 1]), [1, 1, 2]), exist, WHOLE
            )
        if matrix.nested_code is not None:
            outer = _some(
                tl.max_contiguous(tl.multiple_of(matrix.nested_scales + at // 256, [1, 1, 1]), [1, 1, 2]),
                exist,
                WHOLE,
            )
    return w, scale, zero, outer


@triton.jit
def _once(at, exist, WHOLE: tl.constexpr):
    """Weights, which nobody reads again. WHOLE: what does not exist is not used either."""
    if WHOLE:
        return tl.load(at, eviction_policy="evict_first")
    return tl.load(at, mask=exist, other=0, eviction_policy="evict_first")


@triton.jit
def _int8(words, nought):
    """Each of eight numbers plus 384."""
    a, b, c, d = _bytes(words.to(tl.int32))
    e, f, g, h = _bytes((words >> 32).to(tl.int32))
    return (
        _whole8(a, nought), _whole8(b, nought), _whole8(c, nought), _whole8(d, nought),
        _whole8(e, nought), _whole8(f, nought), _whole8(g, nought), _whole8(h, nought),
    )  # fmt: skip


@triton.jit
def _int4(word, code, nought):
    """Values of `code`; without one each number plus 16 or, of the odd columns, plus 256."""
    if code is not None:
        return _looked_up(code, word)
    a, b, c, d = _bytes(word)
    return (
        _high(a, nought), _low(a, nought), _high(b, nought), _low(b, nought),
        _high(c, nought), _low(c, nought), _high(d, nought), _low(d, nought),
    )  # fmt: skip


@triton.jit
def _bytes(word):
    """Each byte of a word, at bits 15 to 22; other bits are anything."""
    return word << 15, word << 7, word >> 1, word >> 9


@triton.jit
def _whole8(at_15, nought):
    """256 + 128 + a signed byte: the exponent of 256, and the byte's sign bit turned around."""
    return ((at_15 & 0x7F8000) ^ (0x43C00000 + nought)).to(tl.float32, bitcast=True)


@triton.jit
def _high(at_15, nought):
    """16 + the high half of a byte."""
    return ((at_15 & 0x780000) ^ (0x41800000 + nought)).to(tl.float32, bitcast=True)


@triton.jit
def _low(at_15, nought):
    """256 + the low half of a byte."""
    return ((at_15 & 0x78000) ^ (0x43800000 + nought)).to(tl.float32, bitcast=True)


@triton.jit
def _lane():
    """A thread's number in its warp."""
    return tl.inline_asm_elementwise("mov.u32 $0, %laneid;", "=r", [], tl.int32, is_pure=True, pack=1)


@triton.jit
def _looked_up(code, word):
    """Eight values of a table of 16: lane n of each half warp has value n, and lanes ask for theirs."""
    if _IS_INTERPRETED:  # which knows no assembly
        a, b, c, d = word & 255, (word >> 8) & 255, (word >> 16) & 255, (word >> 24) & 255
        return (
            tl.load(code + (a >> 4)), tl.load(code + (a & 15)),
            tl.load(code + (b >> 4)), tl.load(code + (b & 15)),
            tl.load(code + (c >> 4)), tl.load(code + (c & 15)),
            tl.load(code + (d >> 4)), tl.load(code + (d & 15)),
        )  # fmt: skip
    return tl.inline_asm_elementwise(
        """
        {
        .reg .b32 a, c, d, e, f, g, h;
        shr.u32 a, $8, 4;
        shr.u32 c, $8, 12;
        shr.u32 d, $8, 8;
        shr.u32 e, $8, 20;
        shr.u32 f, $8, 16;
        shr.u32 g, $8, 28;
        shr.u32 h, $8, 24;
        shfl.sync.idx.b32 $0, $9, a, 0x101f, 0xffffffff;
        shfl.sync.idx.b32 $1, $9, $8, 0x101f, 0xffffffff;
        shfl.sync.idx.b32 $2, $9, c, 0x101f, 0xffffffff;
        shfl.sync.idx.b32 $3, $9, d, 0x101f, 0xffffffff;
        shfl.sync.idx.b32 $4, $9, e, 0x101f, 0xffffffff;
        shfl.sync.idx.b32 $5, $9, f, 0x101f, 0xffffffff;
        shfl.sync.idx.b32 $6, $9, g, 0x101f, 0xffffffff;
        shfl.sync.idx.b32 $7, $9, h, 0x101f, 0xffffffff;
        }
        """,
        "=&f,=&f,=&f,=&f,=&f,=&f,=&f,=&f,r,f",
        [word, code],
        (tl.float32, tl.float32, tl.float32, tl.float32, tl.float32, tl.float32, tl.float32, tl.float32),
        is_pure=True,
        pack=1,
    )


@triton.jit
def _bits(scale):
    """Of a scale, as a whole number."""
    if scale.dtype.primitive_bitwidth == 32:
        return scale.to(tl.int32, bitcast=True)
    if scale.dtype.primitive_bitwidth == 16:
        return scale.to(tl.uint16, bitcast=True).to(tl.int32)
    return scale.to(tl.int32)


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
    return _eight(tl.where(_is_outlier(a, threshold), a, steps * (absmax / 127.0)))


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
