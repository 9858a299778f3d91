"""Kernels around a product: norm before it, residual or SwiGLU behind it, up to three matrices at once."""

import triton
import triton.language as tl

from engine.worker.step.cuda.kernels.matrix import multiplied


@triton.jit
def linear(
    x, norm, epsilon, residual, scale, out, batch, first, second, third, COUNT: tl.constexpr,
    K: tl.constexpr, GROUP: tl.constexpr, KIND: tl.constexpr,
    B: tl.constexpr, ROWS: tl.constexpr, BLOCK: tl.constexpr, WHOLE: tl.constexpr,
):  # fmt: skip
    """out [batch, all rows] = x by up to three matrices, side by side, times `scale`, plus `residual`.

    COUNT says how many there are: Triton 3.6 compares no tuple with None, as `second` and `third` may
    be. So may `residual`, which has out's shape and may be `out`, and `scale`. A program makes ROWS outputs.
    WHOLE: all matrices' rows are a multiple of ROWS, and K is one of BLOCK.
    """
    program = tl.program_id(0)
    width = first.rows
    if COUNT > 1:
        width += second.rows
    if COUNT > 2:
        width += third.rows
    blocks = tl.cdiv(first.rows, ROWS)
    if program < blocks:
        _part(x, norm, epsilon, residual, scale, out, batch, first, program, 0, width,
              K, GROUP, KIND, B, ROWS, BLOCK, WHOLE)  # fmt: skip
    if COUNT > 1:
        begin, program = first.rows, program - blocks
        blocks = tl.cdiv(second.rows, ROWS)
        if (program >= 0) & (program < blocks):
            _part(x, norm, epsilon, residual, scale, out, batch, second, program, begin, width,
                  K, GROUP, KIND, B, ROWS, BLOCK, WHOLE)  # fmt: skip
        if COUNT > 2:
            begin, program = begin + second.rows, program - blocks
            if program >= 0:
                _part(x, norm, epsilon, residual, scale, out, batch, third, program, begin, width,
                      K, GROUP, KIND, B, ROWS, BLOCK, WHOLE)  # fmt: skip


@triton.jit
def _part(
    x, norm, epsilon, residual, scale, out, batch, matrix, program, begin, width,
    K: tl.constexpr, GROUP: tl.constexpr, KIND: tl.constexpr,
    B: tl.constexpr, ROWS: tl.constexpr, BLOCK: tl.constexpr, WHOLE: tl.constexpr,
):  # fmt: skip
    """A program's rows of one of the matrices; they begin at column `begin` of `out`."""
    row = program * ROWS
    result = multiplied(x, norm, epsilon, batch, matrix, row, K, GROUP, KIND, B, ROWS, BLOCK, WHOLE)
    rows = row + tl.arange(0, ROWS)
    b = tl.arange(0, B)[:, None]
    at = b * width + begin + rows[None, :]
    mask = (b < batch) & (rows < matrix.rows)[None, :]
    if residual is not None:  # added as transformers adds: after the product is rounded
        result = result.to(out.dtype.element_ty).to(tl.float32)
        if scale is not None:
            result = (result * scale).to(out.dtype.element_ty).to(tl.float32)
        result += tl.load(residual + at, mask=mask, other=0.0).to(tl.float32)
    tl.store(out + at, result.to(out.dtype.element_ty), mask=mask)


@triton.jit
def swiglu(
    x, norm, epsilon, out, batch, inner, gate, up, COUNT: tl.constexpr,
    K: tl.constexpr, GROUP: tl.constexpr, KIND: tl.constexpr,
    B: tl.constexpr, ROWS: tl.constexpr, BLOCK: tl.constexpr, WHOLE: tl.constexpr,
):  # fmt: skip
    """out [batch, inner] = silu(x by `gate`) · (x by `up`); of one matrix, `gate` has the rows of both."""
    row = tl.program_id(0) * ROWS
    dtype = out.dtype.element_ty
    a = multiplied(x, norm, epsilon, batch, gate, row, K, GROUP, KIND, B, ROWS, BLOCK, WHOLE)
    a = a.to(dtype).to(tl.float32)
    if COUNT == 1:
        c = multiplied(x, norm, epsilon, batch, gate, inner + row, K, GROUP, KIND, B, ROWS, BLOCK, WHOLE)
    else:
        c = multiplied(x, norm, epsilon, batch, up, row, K, GROUP, KIND, B, ROWS, BLOCK, WHOLE)
    c = c.to(dtype).to(tl.float32)
    activated = (a * tl.sigmoid(a)).to(dtype).to(tl.float32)
    rows = row + tl.arange(0, ROWS)
    b = tl.arange(0, B)[:, None]
    mask = (b < batch) & (rows < inner)[None, :]
    tl.store(out + b * inner + rows[None, :], (activated * c).to(dtype), mask=mask)
