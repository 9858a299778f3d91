"""Calls of the kernels: grids, block sizes, buffers. Knows layouts and tensors, not layers of a model."""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from engine.worker.step.cuda.int4 import MOST_SEQUENCES
from engine.worker.step.cuda.kernels import COMPILED
from engine.worker.step.cuda.kernels import attention as attention_kernel
from engine.worker.step.cuda.kernels import linear as linear_kernel
from engine.worker.step.cuda.kernels.matrix import CHUNK
from engine.worker.step.cuda.layouts import Held
from engine.worker.step.llama import Norm, Sizes

__all__ = ["MOST_SEQUENCES", "Token", "attend", "linear", "swiglu"]

ROWS = 8  # outputs a program, of one sequence
BLOCK = 2048  # columns that a program reads at once, of one sequence
WARP_COLUMNS = 32 * CHUNK  # of each row, that 32 threads have
LEAST_SPAN, MOST_SPLITS = 64, 64  # cache positions a program, and programs a head
READ_BYTES = 16384  # of keys and values, that a program reads at once
LEAST_SIDE = 16  # of a product on tensor cores


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
    counts = [each.matrix.rows for each in held]
    sizes = _sizes(x, held[0], counts)
    out = x.new_empty(len(x), sum(counts)) if residual is None else residual
    weight, epsilon = (norm.weight, norm.epsilon) if norm else (None, 0.0)
    factor = None if scale == 1 else scale
    grid = (sum(-(-count // sizes["ROWS"]) for count in counts),)
    linear_kernel.linear[grid](
        x, weight, epsilon, residual, factor, out, len(x), first, *padded, len(held), **sizes
    )
    return out


def swiglu(x: Tensor, gate_up: Sequence[Held], norm: Norm) -> Tensor:
    """silu(x by gate) · (x by up), [batch, inner]; gate and up are two matrices, or halves of one."""
    gate, up = (each.matrix for each in gate_up) if len(gate_up) > 1 else (gate_up[0].matrix, None)
    inner = gate.rows if up else gate.rows // 2
    sizes = _sizes(x, gate_up[0], [inner])
    out = x.new_empty(len(x), inner)
    given = x, norm.weight, norm.epsilon, out, len(x), inner, gate, up, len(gate_up)
    linear_kernel.swiglu[(-(-inner // sizes["ROWS"]),)](*given, **sizes)
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
    splits = -(-capacity // span)
    group = max(LEAST_SIDE, _power_of_two(sizes.heads // sizes.kv_heads))
    half = max(LEAST_SIDE, _power_of_two(size // 2))
    heads = batch * sizes.kv_heads
    partial = torch.empty((heads, splits, group, 2 * half), dtype=torch.float32, device=qkv.device)
    extremes = torch.empty((heads, splits, group, 2), dtype=torch.float32, device=qkv.device)
    out = qkv.new_empty(batch, sizes.heads * size)
    query, key = norms or (None, None)
    weights = (query.weight, key.weight, query.epsilon) if query and key else (None, None, 0.0)
    *shared, arrived = token
    given = *shared, keys, values, partial, extremes, arrived, out, sizes.scale, capacity, span, splits
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
        BLOCK=max(LEAST_SIDE, min(LEAST_SPAN, READ_BYTES // (4 * half * keys.element_size()))),
        MOST=MOST_SPLITS,
        **COMPILED,
    )
    return out


def _sizes(x: Tensor, held: Held, counts: Sequence[int]) -> dict[str, int]:
    """The constants that a kernel is compiled for; `counts` of the matrices' rows."""
    sequences, columns = _power_of_two(len(x)), held.columns
    few = 1 if sequences == 1 else 2
    rows, block = ROWS // few, min(BLOCK // few, max(WARP_COLUMNS, _power_of_two(columns)))
    return {
        "K": columns,
        "GROUP": held.group,
        "KIND": held.kind,
        "B": sequences,
        "ROWS": rows,
        "BLOCK": block,
        "WHOLE": columns % block == 0 and all(count % rows == 0 for count in counts),
        "num_warps": block // WARP_COLUMNS,
        **COMPILED,
    }


def _power_of_two(count: int) -> int:
    """The least that is not below `count`."""
    return 1 << max(0, count - 1).bit_length()
