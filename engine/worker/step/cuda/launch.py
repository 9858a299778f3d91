"""Calls of the kernels: grids, block sizes, buffers. Knows layouts and tensors, not layers of a model."""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from engine.worker.step.cuda.kernels import attention as attention_kernel
from engine.worker.step.cuda.kernels import linear as linear_kernel
from engine.worker.step.cuda.layouts import Held
from engine.worker.step.llama import Norm, Sizes

MOST_SEQUENCES = 8
ROWS = 4  # outputs a program
BLOCK = 1024  # columns that a program reads at once, of one sequence
LEAST_SPAN, MOST_SPLITS = 256, 64  # cache positions a program, and programs a head
POSITIONS = 16  # that a program reads at once


def linear(
    x: Tensor, held: Sequence[Held], norm: Norm | None = None, residual: Tensor | None = None
) -> Tensor:
    """x [batch, columns] by up to three matrices: [batch, all rows], plus `residual`, which it replaces."""
    first, *others = (each.matrix for each in held)
    padded = [*others, None, None][:2]
    programs = sum(-(-each.matrix.rows // ROWS) for each in held)
    out = x.new_empty(len(x), sum(each.matrix.rows for each in held)) if residual is None else residual
    weight, epsilon = (norm.weight, norm.epsilon) if norm else (None, 0.0)
    grid = (programs,)
    linear_kernel.linear[grid](
        x, weight, epsilon, residual, out, len(x), first, *padded, **_sizes(x, held[0])
    )
    return out


def swiglu(x: Tensor, gate: Held, up: Held, norm: Norm) -> Tensor:
    """silu(x by gate) · (x by up), [batch, rows]."""
    out = x.new_empty(len(x), gate.matrix.rows)
    grid = (-(-gate.matrix.rows // ROWS),)
    given = x, norm.weight, norm.epsilon, out, len(x), gate.matrix, up.matrix
    linear_kernel.swiglu[grid](*given, **_sizes(x, gate))
    return out


class Token(NamedTuple):
    """What all layers of a token share."""

    cosine: Tensor
    """[size], as RoPE has it at the token's position."""
    sine: Tensor
    position: Tensor
    """[1], on the device."""
    arrived: Tensor
    """int32 [batch · kv heads]: 0, and 0 again after each layer."""


def attend(
    qkv: Tensor, token: Token, cache: tuple[Tensor, Tensor], norms: tuple[Norm, Norm] | None, sizes: Sizes
) -> Tensor:
    """[batch, heads · size] of qkv [batch, (heads + 2 · kv heads) · size]; the token goes into the cache."""
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
        GROUP=group,
        SPAN=span,
        BLOCK=POSITIONS,
        SPLITS=splits,
    )
    return out


def _sizes(x: Tensor, held: Held) -> dict[str, int]:
    """The constants that a kernel is compiled for."""
    sequences = _power_of_two(len(x))
    return {
        "K": held.columns,
        "GROUP": held.group,
        "SUB": held.sub,
        "KIND": held.kind,
        "B": sequences,
        "ROWS": ROWS,
        "BLOCK": max(64, min(BLOCK // sequences, _power_of_two(held.columns))),
    }


def _power_of_two(count: int) -> int:
    """The least that is not below `count`."""
    return 1 << max(0, count - 1).bit_length()
