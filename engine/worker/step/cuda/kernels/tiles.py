"""int4 for many rows: a product with tensor cores, and the whole matrix as numbers.

Layouts are `matrix`'s. A tile's weights are made in registers, in the rows' dtype, and are the operand that
tensor cores take from there (on Hopper the first one): hence products are computed transposed. Nothing is
compiled for a prompt's length.
"""

import triton
import triton.language as tl


@triton.jit(do_not_specialize=["batch", "splits"])
def tiled(
    x, out, partial, arrived, batch, splits, columns, group, matrix,
    ROWS: tl.constexpr, B: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    """out [batch, matrix.rows] = x [batch, columns] by an int4 matrix, plus bias; columns as that has them.

    B rows of x and ROWS outputs are a tile; `splits` programs share its columns, and the last one adds up:
    float32 partial [row tiles, batch tiles, splits, ROWS, B]; int32 arrived [row tiles · batch tiles], 0
    before and afterwards. BLOCK columns have one scale: a power of two that divides columns and group.
    """
    tile, split = tl.program_id(1) * tl.num_programs(0) + tl.program_id(0), tl.program_id(2)
    b = tl.program_id(0) * B + tl.arange(0, B)
    rows = tl.program_id(1) * ROWS + tl.arange(0, ROWS)
    exists, inside = b < batch, rows < matrix.rows
    at_x = x + b[:, None].to(tl.int64) * columns + tl.arange(0, BLOCK)[None, :]
    at_w = matrix.weights + rows[:, None].to(tl.int64) * (columns // 2) + tl.arange(0, BLOCK // 2)[None, :]
    at_scale = rows.to(tl.int64) * tl.cdiv(columns, group)
    dtype: tl.constexpr = x.dtype.element_ty
    blocks = columns // BLOCK
    total = tl.zeros([ROWS, B], tl.float32)
    for block in range(blocks * split // splits, blocks * (split + 1) // splits):
        q = tl.load(at_w + block * (BLOCK // 2), mask=inside[:, None], other=0)
        a = tl.load(at_x + block * BLOCK, mask=exists[:, None], other=0.0)
        weights = _weights(matrix, q, at_scale + block * BLOCK // group, inside, dtype)
        total = tl.dot(weights, tl.trans(a), total)
    valid = inside[:, None] & exists[None, :]
    into = out + b[None, :].to(tl.int64) * matrix.rows + rows[:, None]
    if splits == 1:
        _store(into, total, matrix, rows, inside, valid)
    else:
        each = tl.arange(0, ROWS)[:, None] * B + tl.arange(0, B)[None, :]
        begin = partial + tile.to(tl.int64) * splits * (ROWS * B) + each
        tl.store(begin + split * (ROWS * B), total)
        tl.debug_barrier()  # all of the program's threads have written before it says so
        if tl.atomic_add(arrived + tile, 1) == splits - 1:
            tl.debug_barrier()
            _store(into, _all_parts(begin, splits, ROWS, B), matrix, rows, inside, valid)
            tl.store(arrived + tile, 0)


@triton.jit
def _all_parts(begin, splits, ROWS: tl.constexpr, B: tl.constexpr):
    """The sum of what all programs of a tile wrote. A nearby cache may be old: past it."""
    total = tl.zeros([ROWS, B], tl.float32)
    for split in range(0, splits):
        total += tl.load(begin + split * (ROWS * B), cache_modifier=".cg")
    return total


@triton.jit
def dequantize(out, columns, group, matrix, SUB: tl.constexpr, PARTS: tl.constexpr):
    """out [matrix.rows, columns] = the weights of an int4 matrix, in the order in which it holds its columns.

    A program makes PARTS times SUB numbers that follow each other. SUB columns have one scale: a power of two
    that divides columns and group.
    """
    parts = tl.program_id(0).to(tl.int64) * PARTS + tl.arange(0, PARTS)
    a_row = columns // SUB
    inside = parts < a_row * matrix.rows
    at = parts // a_row * tl.cdiv(columns, group) + parts % a_row * SUB // group
    at_w = matrix.weights + parts[:, None] * (SUB // 2) + tl.arange(0, SUB // 2)[None, :]
    q = tl.load(at_w, mask=inside[:, None], other=0, eviction_policy="evict_first")
    dtype: tl.constexpr = out.dtype.element_ty
    weights = _weights(matrix, q, at, inside, dtype)
    tl.store(out + parts[:, None] * SUB + tl.arange(0, SUB)[None, :], weights, mask=inside[:, None])


@triton.jit
def _weights(matrix, bytes, at, inside, dtype: tl.constexpr):
    """[n, 2m] of bytes [n, m] with scales and zeros at `at` [n]: computed in float32, rounded to `dtype`."""
    scale = tl.load(matrix.scales + at, mask=inside, other=0)
    if matrix.nested_code is not None:
        outer = tl.load(matrix.nested_scales + at // 256, mask=inside, other=0.0)
        scale = tl.load(matrix.nested_code + scale.to(tl.int32)) * outer + matrix.offset
    scale = scale.to(tl.float32)[:, None]
    zero = tl.zeros_like(scale)
    if matrix.zeros is not None:
        zero = tl.load(matrix.zeros + at, mask=inside, other=0.0).to(tl.float32)[:, None]
    if matrix.code is not None:
        bytes = bytes.to(tl.int32)
        high = tl.load(matrix.code + (bytes >> 4)) * scale + zero
        low = tl.load(matrix.code + (bytes & 15)) * scale + zero
    else:
        # As bits behind a float32's exponent they are 128 + 8 · the high four, and 128 + ½ · the low four.
        # Less 128, and the 8 that stand for 0, in one multiplication and addition.
        placed = bytes.to(tl.int32) << 15
        high = ((placed & 0x780000) | 0x43000000).to(tl.float32, bitcast=True)
        low = ((placed & 0x078000) | 0x43000000).to(tl.float32, bitcast=True)
        high = high * (scale / 8) + (zero - 24 * scale)
        low = low * (2 * scale) + (zero - 264 * scale)
    return tl.join(high.to(dtype), low.to(dtype)).reshape(bytes.shape[0], 2 * bytes.shape[1])


@triton.jit
def _store(into, total, matrix, rows, inside, valid):
    """total [ROWS, B], plus bias."""
    if matrix.bias is not None:
        total += tl.load(matrix.bias + rows, mask=inside, other=0.0).to(tl.float32)[:, None]
    tl.store(into, total.to(into.dtype.element_ty), mask=valid)
