"""Kernels around a product: norm before it, residual or SwiGLU behind it, up to three matrices at once."""

import triton
import triton.language as tl

from engine.worker.step.cuda.kernels.matrix import multiplied


@triton.jit
def linear(
    x, norm, epsilon, residual, scale, out, batch, first, second, third,
    K: tl.constexpr, GROUP: tl.constexpr, SUB: tl.constexpr, KIND: tl.constexpr,
    B: tl.constexpr, ROWS: tl.constexpr, BLOCK: tl.constexpr, COUNT: tl.constexpr,
):  # fmt: skip
    """out [batch, all rows] = x by COUNT matrices, up to three, side by side, times `scale`, plus `residual`.

    `residual` and `scale` may be None; no matrix is compared with None, which Triton 3.6 cannot. A program
    makes ROWS outputs; `residual` has out's shape, and may be `out`.
    """
    program = tl.program_id(0)
    width = first.rows
    if COUNT > 1:
        width += second.rows
    if COUNT > 2:
        width += third.rows
    blocks = tl.cdiv(first.rows, ROWS)
    if program < blocks:
        _part(
            x,
            norm,
            epsilon,
            residual,
            scale,
            out,
            batch,
            first,
            program,
            0,
            width,
            K,
            GROUP,
            SUB,
            KIND,
            B,
            ROWS,
            BLOCK,
        )
    if COUNT > 1:
        begin, program = first.rows, program - blocks
        blocks = tl.cdiv(second.rows, ROWS)
        if (program >= 0) & (program < blocks):
            _part(
                x,
                norm,
                epsilon,
                residual,
                scale,
                out,
                batch,
                second,
                program,
                begin,
                width,
                K,
                GROUP,
                SUB,
                KIND,
                B,
                ROWS,
                BLOCK,
            )
        if COUNT > 2:
            begin, program = begin + second.rows, program - blocks
            if program >= 0:
                _part(
                    x,
                    norm,
                    epsilon,
                    residual,
                    scale,
                    out,
                    batch,
                    third,
                    program,
                    begin,
                    width,
                    K,
                    GROUP,
                    SUB,
                    KIND,
                    B,
                    ROWS,
                    BLOCK,
                )


@triton.jit
def _part(
    x, norm, epsilon, residual, scale, out, batch, matrix, program, begin, width,
    K: tl.constexpr, GROUP: tl.constexpr, SUB: tl.constexpr, KIND: tl.constexpr,
    B: tl.constexpr, ROWS: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    """A program's rows of one of the matrices; they begin at column `begin` of `out`."""
    rows = program * ROWS + tl.arange(0, ROWS)
    result = multiplied(x, norm, epsilon, batch, matrix, rows, K, GROUP, SUB, KIND, B, BLOCK)
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
    x, norm, epsilon, out, batch, inner, gate, up,
    K: tl.constexpr, GROUP: tl.constexpr, SUB: tl.constexpr, KIND: tl.constexpr,
    B: tl.constexpr, ROWS: tl.constexpr, BLOCK: tl.constexpr, COUNT: tl.constexpr,
):  # fmt: skip
    """out [batch, inner] = silu(x by `gate`) · (x by `up`); where COUNT is 1, `gate` has all rows."""
    rows = tl.program_id(0) * ROWS + tl.arange(0, ROWS)
    dtype = out.dtype.element_ty
    a = (
        multiplied(x, norm, epsilon, batch, gate, rows, K, GROUP, SUB, KIND, B, BLOCK)
        .to(dtype)
        .to(tl.float32)
    )
    if COUNT == 1:
        c = multiplied(x, norm, epsilon, batch, gate, inner + rows, K, GROUP, SUB, KIND, B, BLOCK)
    else:
        c = multiplied(x, norm, epsilon, batch, up, rows, K, GROUP, SUB, KIND, B, BLOCK)
    c = c.to(dtype).to(tl.float32)
    activated = (a * tl.sigmoid(a)).to(dtype).to(tl.float32)
    b = tl.arange(0, B)[:, None]
    mask = (b < batch) & (rows < inner)[None, :]
    tl.store(out + b * inner + rows[None, :], (activated * c).to(dtype), mask=mask)
