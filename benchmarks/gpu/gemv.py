"""Products of one row with a weight matrix, in Triton: prototypes of a fused decode step's kernels.

y[n] = Σ_k W[n, k] x[k] for bf16, int8 (a scale a row), int4 (groups, zero 8) and nf4 (blocks of 64); the RMS
norm before it, and SwiGLU or the residual after it, can be part of the kernel. Run as a program it compares
each with float64: all should be far below 1e-3. TRITON_INTERPRET=1 runs them on a CPU.
"""

from collections.abc import Callable

import torch
import triton
import triton.language as tl
from torch import Tensor
from torch.nn import functional

NF4 = (
    *(-1.0, -0.6961928009986877, -0.5250730514526367, -0.39491748809814453),
    *(-0.28444138169288635, -0.18477343022823334, -0.09105003625154495, 0.0),
    *(0.07958029955625534, 0.16093020141124725, 0.24611230194568634, 0.33791524171829224),
    *(0.44070982933044434, 0.5626170039176941, 0.7229568362236023, 1.0),
)
EPS = 1e-5


@triton.jit
def _rows(N, BN: tl.constexpr):
    """A block's rows, and which of them are inside."""
    rows = tl.program_id(0) * BN + tl.arange(0, BN)
    return rows, rows < N


@triton.jit
def _once(at, inside):
    """Weights, which nobody reads again."""
    return tl.load(at, mask=inside, other=0, eviction_policy="evict_first")


@triton.jit
def _float(at):
    return tl.load(at).to(tl.float32)


@triton.jit
def _bf16(
    w,
    x,
    norm,
    residual,
    y,
    N,
    K: tl.constexpr,
    eps,
    BN: tl.constexpr,
    BK: tl.constexpr,
    NORM: tl.constexpr,
    ADD: tl.constexpr,
):
    rows, inside = _rows(N, BN)
    base = w + rows[:, None].to(tl.int64) * K
    acc = tl.zeros([BN, BK], tl.float32)
    squares = tl.zeros([BK], tl.float32)
    for k in range(0, K, BK):
        cols = k + tl.arange(0, BK)
        weights = _once(base + cols[None, :], inside[:, None]).to(tl.float32)
        values = _float(x + cols)
        if NORM:
            squares += values * values
            values = values * _float(norm + cols)
        acc += weights * values[None, :]
    out = tl.sum(acc, 1)
    if NORM:
        out = out * tl.rsqrt(tl.sum(squares, 0) / K + eps)
    if ADD:
        out += tl.load(residual + rows, mask=inside, other=0.0).to(tl.float32)
    tl.store(y + rows, out.to(y.dtype.element_ty), mask=inside)


@triton.jit
def _gate_up(gate, up, x, norm, y, N, K: tl.constexpr, eps, BN: tl.constexpr, BK: tl.constexpr):
    rows, inside = _rows(N, BN)
    at = rows[:, None].to(tl.int64) * K
    gates = tl.zeros([BN, BK], tl.float32)
    ups = tl.zeros([BN, BK], tl.float32)
    squares = tl.zeros([BK], tl.float32)
    for k in range(0, K, BK):
        cols = k + tl.arange(0, BK)
        values = _float(x + cols)
        squares += values * values
        values = values * _float(norm + cols)
        gates += _once(gate + at + cols[None, :], inside[:, None]).to(tl.float32) * values[None, :]
        ups += _once(up + at + cols[None, :], inside[:, None]).to(tl.float32) * values[None, :]
    scale = tl.rsqrt(tl.sum(squares, 0) / K + eps)
    a = tl.sum(gates, 1) * scale
    out = a * tl.sigmoid(a) * (tl.sum(ups, 1) * scale)
    tl.store(y + rows, out.to(y.dtype.element_ty), mask=inside)


@triton.jit
def _int8(w, scales, x, y, N, K: tl.constexpr, BN: tl.constexpr, BK: tl.constexpr):
    rows, inside = _rows(N, BN)
    base = w + rows[:, None].to(tl.int64) * K
    acc = tl.zeros([BN, BK], tl.float32)
    for k in range(0, K, BK):
        cols = k + tl.arange(0, BK)
        acc += _once(base + cols[None, :], inside[:, None]).to(tl.float32) * _float(x + cols)[None, :]
    out = tl.sum(acc, 1) * tl.load(scales + rows, mask=inside, other=0.0)
    tl.store(y + rows, out.to(y.dtype.element_ty), mask=inside)


@triton.jit
def _int4(w, scales, x, y, N, K: tl.constexpr, G: tl.constexpr, BN: tl.constexpr, BG: tl.constexpr):
    """Of a group of G weights byte j has weight j in its low nibble, and weight G / 2 + j in the high one."""
    H: tl.constexpr = G // 2
    rows, inside = _rows(N, BN)
    base = w + rows[:, None, None].to(tl.int64) * (K // 2)
    at_scales = scales + rows[:, None].to(tl.int64) * (K // G)
    acc = tl.zeros([BN, BG, H], tl.float32)
    for first in range(0, K // G, BG):
        groups = first + tl.arange(0, BG)
        within = tl.arange(0, H)[None, :]
        q = _once(base + (groups[:, None] * H + within)[None], inside[:, None, None])
        low = (q & 15).to(tl.float32) - 8.0
        high = (q >> 4).to(tl.float32) - 8.0
        where = x + groups[:, None] * G + within
        part = low * _float(where)[None] + high * _float(where + H)[None]
        acc += part * _once(at_scales + groups[None, :], inside[:, None]).to(tl.float32)[:, :, None]
    tl.store(y + rows, tl.sum(tl.sum(acc, 2), 1).to(y.dtype.element_ty), mask=inside)


@triton.jit
def _nf4(w, absmax, table, x, y, N, K: tl.constexpr, BN: tl.constexpr, BG: tl.constexpr):
    """bitsandbytes' own bytes: weight 2j in the high nibble of byte j, 2j + 1 in the low one."""
    rows, inside = _rows(N, BN)
    base = w + rows[:, None, None].to(tl.int64) * (K // 2)
    at_scales = absmax + rows[:, None].to(tl.int64) * (K // 64)
    acc = tl.zeros([BN, BG, 32], tl.float32)
    for first in range(0, K // 64, BG):
        groups = first + tl.arange(0, BG)
        within = tl.arange(0, 32)[None, :]
        q = _once(base + (groups[:, None] * 32 + within)[None], inside[:, None, None]).to(tl.int32)
        where = x + groups[:, None] * 64 + 2 * within
        part = tl.load(table + (q >> 4)) * _float(where)[None]
        part += tl.load(table + (q & 15)) * _float(where + 1)[None]
        acc += part * _once(at_scales + groups[None, :], inside[:, None])[:, :, None]
    tl.store(y + rows, tl.sum(tl.sum(acc, 2), 1).to(y.dtype.element_ty), mask=inside)


def bf16(
    w: Tensor,
    x: Tensor,
    y: Tensor,
    norm: Tensor | None = None,
    residual: Tensor | None = None,
    *,
    BN: int = 4,
    BK: int = 1024,
    warps: int = 4,
) -> None:
    """y [n] = w [n, k] · x [k], of the normed x where `norm` [k] is given, plus `residual` [n]."""
    n, k = w.shape
    given = {"NORM": norm is not None, "ADD": residual is not None}
    norm, residual = (x if part is None else part for part in (norm, residual))
    grid = (triton.cdiv(n, BN),)
    _bf16[grid](w, x, norm, residual, y, n, k, EPS, BN=BN, BK=min(BK, k), **given, num_warps=warps)


def gate_up(
    gate: Tensor,
    up: Tensor,
    x: Tensor,
    norm: Tensor,
    y: Tensor,
    *,
    BN: int = 4,
    BK: int = 512,
    warps: int = 4,
) -> None:
    """y [n] = silu(gate · x) × (up · x), of the normed x."""
    n, k = gate.shape
    _gate_up[(triton.cdiv(n, BN),)](gate, up, x, norm, y, n, k, EPS, BN=BN, BK=min(BK, k), num_warps=warps)


def int8(
    w: Tensor, scales: Tensor, x: Tensor, y: Tensor, *, BN: int = 4, BK: int = 1024, warps: int = 4
) -> None:
    """w [n, k] int8, scales [n] float32."""
    n, k = w.shape
    _int8[(triton.cdiv(n, BN),)](w, scales, x, y, n, k, BN=BN, BK=min(BK, k), num_warps=warps)


def int4(
    w: Tensor, scales: Tensor, x: Tensor, y: Tensor, *, BN: int = 4, BG: int = 8, warps: int = 4
) -> None:
    """w [n, k / 2] uint8, scales [n, groups]; BG groups at once."""
    n, k = w.shape[0], 2 * w.shape[1]
    groups = scales.shape[1]
    grid = (triton.cdiv(n, BN),)
    _int4[grid](w, scales, x, y, n, k, G=k // groups, BN=BN, BG=min(BG, groups), num_warps=warps)


def nf4(
    w: Tensor,
    absmax: Tensor,
    table: Tensor,
    x: Tensor,
    y: Tensor,
    *,
    BN: int = 4,
    BG: int = 16,
    warps: int = 4,
) -> None:
    """w [n, k / 2] uint8, absmax [n, k / 64] float32, table [16]; BG blocks at once."""
    n, k = w.shape[0], 2 * w.shape[1]
    grid = (triton.cdiv(n, BN),)
    _nf4[grid](w, absmax, table, x, y, n, k, BN=BN, BG=min(BG, k // 64), num_warps=warps)


def check(device: str, n: int, k: int) -> dict[str, float]:
    """Each kernel's relative error against float64, on random numbers."""
    torch.manual_seed(0)
    x, norm = torch.randn(k).bfloat16(), (1 + 0.1 * torch.randn(k)).bfloat16()
    w, up = ((0.02 * torch.randn(n, k)).bfloat16() for _ in range(2))
    residual = torch.randn(n).bfloat16()
    exact = x.double()
    normed = exact * (exact.square().mean() + EPS).rsqrt() * norm.double()
    x, norm, residual, w, up = (part.to(device) for part in (x, norm, residual, w, up))
    y = torch.full((n,), torch.nan, device=device)
    found = {}

    def compare(name: str, right: Tensor) -> None:
        found[name] = float((y.cpu().double() - right).norm() / right.norm())
        y.fill_(torch.nan)

    bf16(w, x, y)
    compare("bf16", w.cpu().double() @ exact)
    bf16(w, x, y, norm, residual)
    compare("norm, bf16, residual", w.cpu().double() @ normed + residual.cpu().double())
    gate_up(w, up, x, norm, y)
    compare("norm, gate, up", functional.silu(w.cpu().double() @ normed) * (up.cpu().double() @ normed))
    for name, (run, weights) in _quantized(device, n, k).items():
        run(x, y)
        compare(name, weights @ exact)
    return found


def _quantized(device: str, n: int, k: int) -> dict[str, tuple[Callable[[Tensor, Tensor], None], Tensor]]:
    """By format: a product of (x, y) with random weights, and those weights in float64 on the CPU."""
    q8, s8 = torch.randint(-127, 128, (n, k), dtype=torch.int8), torch.rand(n) * 1e-3
    q4, s4 = torch.randint(0, 16, (n, k // 128, 2, 64), dtype=torch.uint8), torch.rand(n, k // 128) * 1e-2
    n4, a4 = torch.randint(0, 16, (n, k // 2, 2), dtype=torch.uint8), torch.rand(n, k // 64) * 0.05
    halves = (q4[:, :, 0] | q4[:, :, 1] << 4).reshape(n, k // 2)
    pairs = n4[..., 0] << 4 | n4[..., 1]
    table = torch.tensor(NF4)
    d8, ds8, d4, ds4, dn4, da4, dt = (part.to(device) for part in (q8, s8, halves, s4, pairs, a4, table))
    centred = (q4.double() - 8).reshape(n, -1, 128) * s4.double()[:, :, None]
    looked_up = table.double()[n4.long()].reshape(n, -1, 64) * a4.double()[:, :, None]
    return {
        "int8": (lambda x, y: int8(d8, ds8, x, y), q8.double() * s8.double()[:, None]),
        "int4": (lambda x, y: int4(d4, ds4, x, y), centred.reshape(n, k)),
        "nf4": (lambda x, y: nf4(dn4, da4, dt, x, y), looked_up.reshape(n, k)),
    }


if __name__ == "__main__":
    on_gpu = torch.cuda.is_available()
    for each, error in check(*(("cuda", 6144, 4096) if on_gpu else ("cpu", 24, 2048))).items():
        print(f"{each:20} {error:.1e}")
