# ruff: noqa: PLR0913, PLR0917  # compiled functions are given arrays, not objects
"""A whole decode step of a Llama-like model as one compiled function, for every OpenMP thread of a team.

Between two matmuls there is a barrier and nothing else: no Python, no allocation, no start of a team. Sums
are float32; what transformers rounds to bf16 is rounded here, at the same points. Compiled by numba once per
machine, and cached. Owns the arithmetic; `fields` defines its input. Knows neither torch nor transformers.
"""

from typing import Any

import numpy as np
from numba import carray, cfunc, from_dtype, njit, types

from engine.worker.step.cpu.kernels.fields import (
    ARRAYS,
    LAYER,
    STEP,
    attn_out_of,
    cache_view,
    cos_sin_of,
    gate_of,
    heads_out_of,
    layers_of,
    logits_of,
    matmul_out_of,
    matmul_scratch,
    scratch_at,
    shape,
    up_of,
    x_address,
    x_of,
)
from engine.worker.step.cpu.kernels.int8 import MATMUL_SCRATCH
from engine.worker.step.cpu.kernels.matmul import (
    BF16,
    DEQUANTIZE,
    HAS_VECTORS,
    INT4,
    INT8,
    INT8_DYNAMIC,
    MULTIPLY,
    dequantize,
    dots,
    lay_out,
    matmul,
    multiply,
)
from engine.worker.step.cpu.kernels.team import barrier, thread_count, thread_number
from engine.worker.step.cpu.kernels.values import (
    SUMS,
    bf16_at,
    float32_at,
    round_bf16,
    row_range,
    to_bf16,
    to_float32,
)

__all__ = [
    "ARRAYS",
    "BF16",
    "DEQUANTIZE",
    "HAS_VECTORS",
    "INT4",
    "INT8",
    "INT8_DYNAMIC",
    "LAYER",
    "MATMUL_SCRATCH",
    "MULTIPLY",
    "STEP",
    "dequantize",
    "multiply",
    "run",
    "shape",
]


@njit(inline="always")
def _head_range(count: Any, thread: Any, threads: Any) -> Any:
    """The range [begin, end) of the heads that one thread computes."""
    return count * thread // threads, count * (thread + 1) // threads


@njit(inline="always")
def _exp(x: Any) -> Any:
    """e to the x, within float32's range: 2 to an integer, times a polynomial.

    A compiler can vectorize this, but not a call of the C library. The coefficients are those of Cephes'
    expf, which is within 2 units in the last place.
    """
    x = min(max(x, np.float32(-87.3)), np.float32(88.7))
    whole = np.floor(x * np.float32(1.44269504) + np.float32(0.5))
    r = x - whole * np.float32(0.693359375) + whole * np.float32(2.12194440e-4)
    p = np.float32(1.9875691500e-4) * r + np.float32(1.3981999507e-3)
    p = p * r + np.float32(8.3334519073e-3)
    p = p * r + np.float32(4.1665795894e-2)
    p = p * r + np.float32(1.6666665459e-1)
    p = p * r + np.float32(5.0000001201e-1)
    power = np.int32((np.int32(whole) + np.int32(127)) << np.int32(23)).view(np.float32)
    return (p * r * r + r + np.float32(1)) * power


@njit
def _add(x: Any, y: Any, scale: Any, thread: Any, threads: Any) -> None:
    """This thread's columns of x += y · scale, both rounded."""
    begin, end = row_range(x.shape[1], thread, threads)
    for seq in range(x.shape[0]):
        for i in range(begin, end):
            x[seq, i] = round_bf16(x[seq, i] + round_bf16(y[seq, i] * scale))


@njit(error_model="numpy")
def _divide(x: Any, by: Any, thread: Any, threads: Any) -> None:
    """This thread's columns of x, which a matmul of its own has just written, divided and rounded."""
    begin, end = row_range(x.shape[1], thread, threads)
    for seq in range(x.shape[0]):
        for i in range(begin, end):
            x[seq, i] = round_bf16(x[seq, i] / by)


@njit(fastmath=SUMS, error_model="numpy")
def _norm(x: Any, weight_address: Any, epsilon: Any, normed: Any, x_addr: Any) -> None:
    """RMS norm of every sequence: in float32, rounded, and then scaled; laid out at an address."""
    batch, size = x.shape
    weight = carray(bf16_at(weight_address), size)
    for seq in range(batch):
        squares = np.float32(0)
        for i in range(size):
            squares += x[seq, i] * x[seq, i]
        scale = np.float32(1) / np.sqrt(squares / np.float32(size) + epsilon)
        for i in range(size):
            normed[seq, i] = round_bf16(to_float32(weight[i]) * round_bf16(x[seq, i] * scale))
    lay_out(normed, x_addr)


@njit(fastmath=SUMS, error_model="numpy")
def _norm_head(x: Any, seq: Any, first: Any, size: Any, weight_address: Any, epsilon: Any) -> None:
    """RMS norm of the head that begins at x[seq, first], in place; none where there is no weight."""
    if weight_address == 0:
        return
    weight = carray(bf16_at(weight_address), size)
    squares = np.float32(0)
    for i in range(size):
        squares += x[seq, first + i] * x[seq, first + i]
    scale = np.float32(1) / np.sqrt(squares / np.float32(size) + epsilon)
    for i in range(size):
        x[seq, first + i] = round_bf16(to_float32(weight[i]) * round_bf16(x[seq, first + i] * scale))


@njit
def _rotated(x: Any, seq: Any, first: Any, rotary: Any, cos_sin: Any, out: Any) -> None:
    """RoPE on the head that begins at x[seq, first]: halves (a, b) become (a cos - b sin, b cos + a sin).

    They are those of its first `rotary` numbers; the others stay.
    """
    half = rotary // 2
    for i in range(half):
        a, b = x[seq, first + i], x[seq, first + half + i]
        out[i] = round_bf16(round_bf16(a * cos_sin[0, i]) - round_bf16(b * cos_sin[1, i]))
        out[half + i] = round_bf16(
            round_bf16(b * cos_sin[0, half + i]) + round_bf16(a * cos_sin[1, half + i])
        )
    for i in range(rotary, out.shape[0]):
        out[i] = x[seq, first + i]


@njit
def _append_kv(step: Any, layer: Any, thread: Any, threads: Any) -> None:
    """Write this thread's share of the new token's keys and values to the cache."""
    size, heads_out, cos_sin = step.head_size, heads_out_of(step), cos_sin_of(step)
    keys, values = cache_view(step, layer.keys), cache_view(step, layer.values)
    key = carray(float32_at(scratch_at(step, thread)), size)
    begin, end = _head_range(step.batch * step.kv_heads, thread, threads)
    for number in range(begin, end):
        seq, head = number // step.kv_heads, number % step.kv_heads
        own = (step.heads + head) * size
        _norm_head(heads_out, seq, own, size, layer.key_norm, step.epsilon)
        _rotated(heads_out, seq, own, layer.rotary, cos_sin, key)
        first = (step.heads + step.kv_heads + head) * size
        for i in range(size):
            keys[seq, head, step.held, i] = to_bf16(key[i])
            values[seq, head, step.held, i] = to_bf16(heads_out[seq, first + i])


@njit(fastmath=SUMS, error_model="numpy")
def _attend(query: Any, keys: Any, values: Any, scale: Any, weights: Any, out: Any) -> None:
    """Softmax attention of one head's query [size] to keys and values [n, size]; `weights` [n]."""
    count = keys.shape[0]
    dots(query, keys, out, weights)
    most = np.float32(-np.inf)
    for token in range(count):
        weights[token] *= scale
        most = max(most, weights[token])
    total = np.float32(0)
    for token in range(count):
        weights[token] = _exp(weights[token] - most)
        total += weights[token]
    for token in range(count):
        weights[token] /= total
    _sum_up(weights, values, out)


@njit(fastmath=SUMS)
def _sum_up(weights: Any, values: Any, out: Any) -> None:
    """The weighted sum of values [n, size], four tokens at a time: sums are loaded and stored less often."""
    count, size = values.shape
    together = count - count % 4
    out[:] = np.float32(0)
    for token in range(0, together, 4):
        a, b, c, d = weights[token], weights[token + 1], weights[token + 2], weights[token + 3]
        for i in range(size):
            out[i] += (a * to_float32(values[token, i]) + b * to_float32(values[token + 1, i])) + (
                c * to_float32(values[token + 2, i]) + d * to_float32(values[token + 3, i])
            )
    for token in range(together, count):
        for i in range(size):
            out[i] += weights[token] * to_float32(values[token, i])


@njit
def _attend_heads(step: Any, layer: Any, thread: Any, threads: Any) -> None:
    """Attention of this thread's heads, to [batch, heads · size]; intermediate values are in its scratch."""
    size, tokens, heads_out, cos_sin = step.head_size, step.held + 1, heads_out_of(step), cos_sin_of(step)
    scratch, attn_out = carray(float32_at(scratch_at(step, thread)), step.scratch_size), attn_out_of(step)
    query, sums, weights = scratch[:size], scratch[size : 2 * size], scratch[2 * size :]
    keys, values = cache_view(step, layer.keys), cache_view(step, layer.values)
    begin, end = _head_range(step.batch * step.heads, thread, threads)
    for number in range(begin, end):
        seq, head = number // step.heads, number % step.heads
        shared = head // (step.heads // step.kv_heads)
        _norm_head(heads_out, seq, head * size, size, layer.query_norm, step.epsilon)
        _rotated(heads_out, seq, head * size, layer.rotary, cos_sin, query)
        _attend(query, keys[seq, shared, :tokens], values[seq, shared, :tokens], step.scale, weights, sums)
        for i in range(size):
            attn_out[seq, head * size + i] = round_bf16(sums[i])


@njit(error_model="numpy")  # a division that may raise is not vectorized
def _activate(gate: Any, up: Any, thread: Any, threads: Any) -> None:
    """This thread's columns of gate = silu(gate) · up."""
    begin, end = row_range(gate.shape[1], thread, threads)
    for seq in range(gate.shape[0]):
        for i in range(begin, end):
            x = gate[seq, i]
            gate[seq, i] = round_bf16(round_bf16(x / (np.float32(1) + _exp(-x))) * up[seq, i])


@njit
def _attention(step: Any, layer: Any, thread: Any, threads: Any) -> None:
    """x += attention(norm(x)); ends with a barrier."""
    x, heads_out, attn_out, matmul_out = (
        x_of(step),
        heads_out_of(step),
        attn_out_of(step),
        matmul_out_of(step),
    )
    x_addr, scratch = x_address(step, thread), matmul_scratch(step, thread)
    keys_from, values_from = step.queries, step.queries + step.kv_heads * step.head_size
    _norm(x, layer.attention_norm, step.epsilon, _normed(step, thread), x_addr)
    matmul(layer.query, x_addr, scratch, heads_out, 0, thread, threads)
    matmul(layer.key, x_addr, scratch, heads_out, keys_from, thread, threads)
    matmul(layer.value, x_addr, scratch, heads_out, values_from, thread, threads)
    barrier()
    _append_kv(step, layer, thread, threads)
    barrier()
    _attend_heads(step, layer, thread, threads)
    barrier()
    lay_out(attn_out, x_addr)
    matmul(layer.out, x_addr, scratch, matmul_out, 0, thread, threads)
    _add(x, matmul_out, step.residual_scale, thread, threads)
    barrier()


@njit
def _feed(step: Any, layer: Any, thread: Any, threads: Any) -> None:
    """x += SwiGLU(norm(x)); ends with a barrier."""
    x, gate, up, matmul_out = x_of(step), gate_of(step), up_of(step), matmul_out_of(step)
    x_addr, scratch = x_address(step, thread), matmul_scratch(step, thread)
    _norm(x, layer.feed_norm, step.epsilon, _normed(step, thread), x_addr)
    matmul(layer.gate, x_addr, scratch, gate, 0, thread, threads)
    matmul(layer.up, x_addr, scratch, up, 0, thread, threads)
    _activate(gate, up, thread, threads)
    barrier()
    lay_out(gate, x_addr)
    matmul(layer.down, x_addr, scratch, matmul_out, 0, thread, threads)
    _add(x, matmul_out, step.residual_scale, thread, threads)
    barrier()


@njit(inline="always")
def _normed(step: Any, thread: Any) -> Any:
    """This thread's normed values [batch, hidden]."""
    return carray(float32_at(scratch_at(step, thread)), (step.batch, step.hidden))


@cfunc(types.void(types.CPointer(from_dtype(STEP))), cache=True)
def run(address: Any) -> None:
    """One thread's part of a step; OpenMP calls it in every thread of a team."""
    step, thread, threads = carray(address, 1)[0], thread_number(), thread_count()
    layers, x_addr = layers_of(step), x_address(step, thread)
    for number in range(step.layer_count):
        layer = layers[number]
        _attention(step, layer, thread, threads)
        _feed(step, layer, thread, threads)
    _norm(x_of(step), step.norm, step.epsilon, _normed(step, thread), x_addr)
    logits = logits_of(step)
    matmul(step.head, x_addr, matmul_scratch(step, thread), logits, 0, thread, threads)
    if step.logits_scale != 1:
        _divide(logits, step.logits_scale, thread, threads)
