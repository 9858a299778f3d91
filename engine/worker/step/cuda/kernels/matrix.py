"""A few rows multiplied by a matrix, however its weights are held: the part that all kernels share.

Owns the layouts as kernels read them. One token is bound by memory, so weights are multiplied where they are
loaded, in float32, without tensor cores. Nothing is known here of layers.
"""

from typing import Any, NamedTuple

import triton
import triton.language as tl

PLAIN = tl.constexpr(0)
"""[rows, columns] of floats."""
INT8 = tl.constexpr(1)
"""int8 [rows, columns]: weight = int8 · scale + zero, a scale and a zero for each group of a row."""
INT8_DYNAMIC = tl.constexpr(2)
"""LLM.int8: int8 [rows, columns], a scale a row; inputs are rounded to int8, too, but for outliers."""
INT4 = tl.constexpr(3)
"""[rows, columns / 2] bytes, column 2j in the high half of byte j: weight = code[int4] · scale + zero."""


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
    x, norm, epsilon, batch, matrix, rows,
    K: tl.constexpr, GROUP: tl.constexpr, SUB: tl.constexpr, KIND: tl.constexpr,
    B: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    """x [batch, K], times 1 / its root mean square and `norm` [K] where that is given, by `rows` of a matrix.

    [B, rows] float32. SUB columns have one scale: a power of two that divides K and the group size. BLOCK
    columns are read at once.
    """
    if KIND == 0:
        result = _plain(x, norm, epsilon, batch, matrix, rows, K, B, BLOCK)
    elif KIND == 2:
        result = _int8_dynamic(x, norm, epsilon, batch, matrix, rows, K, B, BLOCK)
    else:
        result = _grouped(x, norm, epsilon, batch, matrix, rows, K, GROUP, SUB, KIND, B, BLOCK)
    if matrix.bias is not None:
        result += tl.load(matrix.bias + rows, mask=rows < matrix.rows, other=0.0).to(tl.float32)[None, :]
    return result


@triton.jit
def _plain(x, norm, epsilon, batch, matrix, rows, K: tl.constexpr, B: tl.constexpr, BLOCK: tl.constexpr):
    b = tl.arange(0, B)
    begin = matrix.weights + rows[:, None].to(tl.int64) * K
    inside = (rows < matrix.rows)[:, None]
    total = tl.zeros([B, rows.shape[0], BLOCK], tl.float32)
    squares = tl.zeros([B, BLOCK], tl.float32)
    for first in range(0, K, BLOCK):
        columns = first + tl.arange(0, BLOCK)
        exists = columns < K
        w = tl.load(
            begin + columns[None, :], mask=inside & exists[None, :], other=0.0, eviction_policy="evict_first"
        )
        a = tl.load(
            x + b[:, None] * K + columns[None, :], mask=(b < batch)[:, None] & exists[None, :], other=0.0
        )
        a = a.to(tl.float32)
        if norm is not None:
            squares += a * a
            a *= tl.load(norm + columns, mask=exists, other=0.0).to(tl.float32)[None, :]
        total += w.to(tl.float32)[None, :, :] * a[:, None, :]
    result = tl.sum(total, 2)
    if norm is not None:
        result *= tl.rsqrt(tl.sum(squares, 1) / K + epsilon)[:, None]
    return result


@triton.jit
def _grouped(
    x, norm, epsilon, batch, matrix, rows,
    K: tl.constexpr, GROUP: tl.constexpr, SUB: tl.constexpr, KIND: tl.constexpr,
    B: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    """int8 and int4, in parts of SUB columns."""
    BYTES: tl.constexpr = SUB // 2 if KIND == 3 else SUB
    PARTS: tl.constexpr = BLOCK // SUB if BLOCK > SUB else 1
    inside = rows < matrix.rows
    begin = matrix.weights + rows[:, None, None].to(tl.int64) * (K // SUB * BYTES)
    total = tl.zeros([B, rows.shape[0], PARTS, BYTES], tl.float32)
    squares = tl.zeros([B, PARTS, BYTES], tl.float32)
    for first in range(0, K // SUB, PARTS):
        parts = first + tl.arange(0, PARTS)
        exists = parts < K // SUB
        at = parts[:, None] * BYTES + tl.arange(0, BYTES)[None, :]
        held = inside[:, None, None] & exists[None, :, None]
        q = tl.load(begin + at[None], mask=held, other=0, eviction_policy="evict_first")
        scale, zero = _scales(matrix, rows, parts, inside[:, None] & exists[None, :], K, GROUP, SUB)
        if KIND == 3:
            q = q.to(tl.int32)
            pairs = 2 * at[:, :, None] + tl.arange(0, 2)[None, None, :]
            both, both_squared = _input(x, norm, batch, matrix, pairs, exists[:, None, None], K, B)
            left, right = tl.split(both)
            left_squared, right_squared = tl.split(both_squared)
            high, low = _decoded(matrix, (q >> 4) & 15), _decoded(matrix, q & 15)
            part = high[None] * left[:, None] + low[None] * right[:, None]
            a = left + right
            squares += left_squared + right_squared
        else:
            a, squared = _input(x, norm, batch, matrix, at, exists[:, None], K, B)
            part = q.to(tl.float32)[None] * a[:, None]
            squares += squared
        total += part * scale[None, :, :, None]
        if matrix.zeros is not None:
            total += a[:, None] * zero[None, :, :, None]
    result = tl.sum(tl.sum(total, 3), 2)
    if norm is not None:
        result *= tl.rsqrt(tl.sum(tl.sum(squares, 2), 1) / K + epsilon)[:, None]
    return result


@triton.jit
def _input(x, norm, batch, matrix, columns, exists, K: tl.constexpr, B: tl.constexpr):
    """What `columns` [parts, n] or [parts, n, 2] multiply, [B, as columns], and its square before `norm`."""
    if len(columns.shape) == 3:
        b = tl.arange(0, B)[:, None, None, None]
    else:
        b = tl.arange(0, B)[:, None, None]
    if matrix.order is not None:
        columns = tl.load(matrix.order + columns, mask=exists, other=0)
    a = tl.load(x + b * K + columns[None], mask=(b < batch) & exists[None], other=0.0).to(tl.float32)
    squared = a * a
    if norm is not None:
        a *= tl.load(norm + columns, mask=exists, other=0.0).to(tl.float32)[None]
    return a, squared


@triton.jit
def _decoded(matrix, int4):
    """The values of four bits."""
    if matrix.code is not None:
        return tl.load(matrix.code + int4)
    return int4.to(tl.float32) - 8.0


@triton.jit
def _scales(matrix, rows, parts, valid, K: tl.constexpr, GROUP: tl.constexpr, SUB: tl.constexpr):
    """Scale and zero of each row's parts, [rows, parts]."""
    GROUPS: tl.constexpr = (K + GROUP - 1) // GROUP
    at = rows[:, None].to(tl.int64) * GROUPS + (parts * SUB // GROUP)[None, :]
    held = tl.load(matrix.scales + at, mask=valid, other=0)
    if matrix.nested_code is not None:
        outer = tl.load(matrix.nested_scales + at // 256, mask=valid, other=0.0)
        scale = tl.load(matrix.nested_code + held.to(tl.int32)) * outer + matrix.offset
    else:
        scale = held.to(tl.float32)
    zero = scale
    if matrix.zeros is not None:
        zero = tl.load(matrix.zeros + at, mask=valid, other=0.0).to(tl.float32)
    return scale, zero


@triton.jit
def _int8_dynamic(
    x, norm, epsilon, batch, matrix, rows, K: tl.constexpr, B: tl.constexpr, BLOCK: tl.constexpr
):
    """Dettmers et al., 2022 (arXiv:2208.07339), § 3: inputs as int8 by the row's largest; outliers apart."""
    b = tl.arange(0, B)
    rms = tl.full([B], 1.0, tl.float32)
    if norm is not None:
        squares = tl.zeros([B, BLOCK], tl.float32)
        for first in range(0, K, BLOCK):
            columns = first + tl.arange(0, BLOCK)
            valid = (b < batch)[:, None] & (columns < K)[None, :]
            a = tl.load(x + b[:, None] * K + columns[None, :], mask=valid, other=0.0).to(tl.float32)
            squares += a * a
        rms = tl.rsqrt(tl.sum(squares, 1) / K + epsilon)
    largest = tl.zeros([B, BLOCK], tl.float32)
    for first in range(0, K, BLOCK):
        a = _normed(x, norm, rms, batch, first + tl.arange(0, BLOCK), K, B)
        if matrix.threshold > 0:
            a = tl.where(tl.abs(a) < matrix.threshold, a, 0.0)
        largest = tl.maximum(largest, tl.abs(a))
    absmax = tl.maximum(tl.max(largest, 1), 1e-30)  # [B]
    begin = matrix.weights + rows[:, None].to(tl.int64) * K
    inside = (rows < matrix.rows)[:, None]
    whole = tl.zeros([B, rows.shape[0], BLOCK], tl.int32)
    outlying = tl.zeros([B, rows.shape[0], BLOCK], tl.float32)
    for first in range(0, K, BLOCK):
        columns = first + tl.arange(0, BLOCK)
        mask = inside & (columns < K)[None, :]
        w = tl.load(begin + columns[None, :], mask=mask, other=0, eviction_policy="evict_first").to(tl.int32)
        a = _normed(x, norm, rms, batch, columns, K, B)
        is_outlier = (tl.abs(a) >= matrix.threshold) & (matrix.threshold > 0)
        # 1.5 · 2²³, added and subtracted, rounds to the nearest whole number, and halves to even ones
        rounded = (a * (127.0 / absmax)[:, None] + 12582912.0) - 12582912.0
        rounded = tl.where(is_outlier, 0.0, rounded).to(tl.int32)
        whole += w[None] * rounded[:, None]
        outlying += w.to(tl.float32)[None] * tl.where(is_outlier, a, 0.0)[:, None]
    scale = tl.load(matrix.scales + rows, mask=rows < matrix.rows, other=0.0).to(tl.float32) / 127.0
    inliers = tl.sum(whole, 2).to(tl.float32) * (absmax / 127.0)[:, None]
    return (inliers + tl.sum(outlying, 2)) * scale[None, :]


@triton.jit
def _normed(x, norm, rms, batch, columns, K: tl.constexpr, B: tl.constexpr):
    """Inputs [B, columns] as the layer gets them, rounded as there."""
    b = tl.arange(0, B)
    valid = (b < batch)[:, None] & (columns < K)[None, :]
    a = tl.load(x + b[:, None] * K + columns[None, :], mask=valid, other=0.0)
    if norm is not None:
        dtype = a.dtype
        weight = tl.load(norm + columns, mask=columns < K, other=0.0)
        a = (a.to(tl.float32) * rms[:, None]).to(dtype).to(tl.float32) * weight.to(tl.float32)[None, :]
        a = a.to(dtype)
    return a.to(tl.float32)
