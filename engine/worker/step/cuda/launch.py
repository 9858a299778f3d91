"""Calls of the kernels: grids, block sizes, buffers. Knows layouts and tensors, not layers of a model."""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from engine.worker.step.cuda.int4 import MOST_SEQUENCES
from engine.worker.step.cuda.kernels import attention as attention_kernel
from engine.worker.step.cuda.kernels import linear as linear_kernel
from engine.worker.step.cuda.layouts import Held
from engine.worker.step.llama import Norm, Sizes

__all__ = ["MOST_SEQUENCES", "Token", "attend", "linear", "swiglu"]

ROWS = 4  # outputs a program
BLOCK = 1024  # columns that a program reads at once, of one sequence
LEAST_SPAN, MOST_SPLITS = 256, 64  # cache positions a program, and programs a head
POSITIONS = 16  # that a program reads at once


def linear(
    x: Tensor,
    held: Sequence[Held],
    norm: Norm | None = None,
    residual: Tensor | None = None,
    scale: float = 1.0,
) -> Tensor:
    """x [batch, columns] by up to three matrices: [batch, all rows].

    Times `scale` and plus `residual`, where there is one; that is overwritten.
    """
    first, *others = (each.matrix for each in held)
    padded = [*others, None, None][:2]
    programs = sum(-(-each.matrix.rows // ROWS) for each in held)
    out = x.new_empty(len(x), sum(each.matrix.rows for each in held)) if residual is None else residual
    weight, epsilon = (norm.weight, norm.epsilon) if norm else (None, 0.0)
    grid = (programs,)
    linear_kernel.linear[grid](
        x,
        weight,
        epsilon,
        residual,
        None if scale == 1 else scale,
        out,
        len(x),
        first,
        *padded,
        **_sizes(x, held),
    )
    return out


def swiglu(x: Tensor, gate_up: Sequence[Held], norm: Norm) -> Tensor:
    """silu(x by gate) · (x by up), [batch, inner]; gate and up are two matrices, or halves of one."""
    gate, up = (each.matrix for each in gate_up) if len(gate_up) > 1 else (gate_up[0].matrix, None)
    inner = gate.rows if up else gate.rows // 2
    out = x.new_empty(len(x), inner)
    grid = (-(-inner // ROWS),)
    given = x, norm.weight, norm.epsilon, out, len(x), inner, gate, up
    linear_kernel.swiglu[grid](*given, **_sizes(x, gate_up))
    return out


class Token(NamedTuple):
    """What all layers of a token share."""

    cosine: Tensor
    """[rotary], as RoPE has it at the token's position."""
    sine: Tensor
    position: Tensor
    """[1], on the device."""
    arrived: Tensor
    """int32 [batch · kv heads]: 0, and 0 again after each layer."""


def attend(
    qkv: Tensor,
    token: Token,
    cache: tuple[Tensor, Tensor],
    norms: tuple[Norm, Norm] | None,
    sizes: Sizes,
) -> Tensor:
    """[batch, heads · size] of qkv [batch, (heads + 2 · kv heads) · size]; the token goes into the cache.

    `norms` are of each head's query and key.
    """
    keys, values = cache
    batch, _, capacity, size = keys.shape
    span = max(LEAST_SPAN, _power_of_two(-(-capacity // MOST_SPLITS)))
    splits, group, half = (
        -(-capacity // span),
        _power_of_two(sizes.heads // sizes.kv_heads),
        _power_of_two(size // 2),
    )
    heads = batch * sizes.kv_heads
    partial = torch.empty((heads, splits, group, 2 * half), dtype=torch.float32, device=qkv.device)
    extremes = torch.empty((heads, splits, group, 2), dtype=torch.float32, device=qkv.device)
    out = qkv.new_empty(batch, sizes.heads * size)
    query, key = norms or (None, None)
    weights = (query.weight, key.weight, query.epsilon) if query and key else (None, None, 0.0)
    *shared, arrived = token
    given = *shared, keys, values, partial, extremes, arrived, out, sizes.scale, capacity
    attention_kernel.attend[(heads, splits)](
        qkv,
        *weights,
        *given,
        HEADS=sizes.heads,
        KV_HEADS=sizes.kv_heads,
        SIZE=size,
        HALF=half,
        ROTARY=sizes.rotary,
        GROUP=group,
        SPAN=span,
        BLOCK=POSITIONS,
        SPLITS=splits,
    )
    return out


def _sizes(x: Tensor, held: Sequence[Held]) -> dict[str, int]:
    """The constants that a kernel is compiled for."""
    sequences, first = _power_of_two(len(x)), held[0]
    return {
        "COUNT": len(held),
        "K": first.columns,
        "GROUP": first.group,
        "SUB": first.sub,
        "KIND": first.kind,
        "B": sequences,
        "ROWS": ROWS,
        "BLOCK": max(64, min(BLOCK // sequences, _power_of_two(first.columns))),
    }


def _power_of_two(count: int) -> int:
    """The least that is not below `count`."""
    return 1 << max(0, count - 1).bit_length()
