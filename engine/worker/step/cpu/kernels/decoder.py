# ruff: noqa: PLR0913, PLR0917  # compiled functions are given arrays, not objects
"""A whole decode step of a Llama-like model as one compiled function, for every OpenMP thread of a team.

Between two products the threads meet at a barrier, and nothing else stands there: no Python, no allocation,
no start of a team. Sums are float32; what transformers rounds to bf16 is rounded here, at the same places.
Compiled by numba once a machine, and cached. Owns the arithmetic; `fields` says what it is told. Knows
neither torch nor transformers.
"""

from typing import Any

import numpy as np
from numba import carray, cfunc, from_dtype, njit, types

from engine.worker.step.cpu.kernels.fields import (
    ARRAYS,
    LAYER,
    STEP,
    attn_out_of,
    cached,
    cos_sin_of,
    gate_of,
    heads_out_of,
    layers_of,
    logits_of,
    matmul_scratch,
    product_of,
    scratch_at,
    shape,
    up_of,
    x_address,
    x_of,
)
from engine.worker.step.cpu.kernels.int8 import SPARE
from engine.worker.step.cpu.kernels.products import (
    BF16,
    BYTES,
    DYNAMIC_BYTES,
    HAS_VECTORS,
    NIBBLES,
    WIDENING,
    dots,
    lay_out,
    multiply,
    widen,
)
from engine.worker.step.cpu.kernels.team import barrier, thread_count, thread_number
from engine.worker.step.cpu.kernels.values import (
    SUMS,
    bf16_at,
    floats_at,
    narrow,
    rounded,
    share,
    wide,
)

__all__ = [
    "ARRAYS",
    "BF16",
    "BYTES",
    "DYNAMIC_BYTES",
    "HAS_VECTORS",
    "LAYER",
    "NIBBLES",
    "SPARE",
    "STEP",
    "WIDENING",
    "run",
    "shape",
    "widen",
]


@njit(inline="always")
def _part(count: Any, thread: Any, threads: Any) -> Any:
    """First and behind the last of the heads that one thread of many does."""
    return count * thread // threads, count * (thread + 1) // threads


@njit(inline="always")
def _exp(x: Any) -> Any:
    """e to the x, where float32 has it: 2 to a whole number, times a polynomial.

    In steps that a compiler can take for many values at once, as it cannot a call of the C library. The
    coefficients are those of Cephes' expf, which is within 2 units in the last place.
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
def _add(x: Any, y: Any, thread: Any, threads: Any) -> None:
    """This thread's columns of x += y, rounded."""
    begin, end = share(x.shape[1], thread, threads)
    for of in range(x.shape[0]):
        for i in range(begin, end):
            x[of, i] = rounded(x[of, i] + y[of, i])


@njit(fastmath=SUMS, error_model="numpy")
def _norm(x: Any, weight_address: Any, epsilon: Any, normed: Any, at: Any) -> None:
    """RMS norm of every sequence: in float32, rounded, and then scaled; laid out at an address."""
    batch, size = x.shape
    weight = carray(bf16_at(weight_address), size)
    for of in range(batch):
        squares = np.float32(0)
        for i in range(size):
            squares += x[of, i] * x[of, i]
        scale = np.float32(1) / np.sqrt(squares / np.float32(size) + epsilon)
        for i in range(size):
            normed[of, i] = rounded(wide(weight[i]) * rounded(x[of, i] * scale))
    lay_out(normed, at)


@njit
def _rotated(x: Any, seq: Any, first: Any, cos_sin: Any, out: Any) -> None:
    """RoPE on the head that begins at x[seq, first]: halves (a, b) become (a cos - b sin, b cos + a sin)."""
    half = out.shape[0] // 2
    for i in range(half):
        a, b = x[seq, first + i], x[seq, first + half + i]
        out[i] = rounded(rounded(a * cos_sin[0, i]) - rounded(b * cos_sin[1, i]))
        out[half + i] = rounded(rounded(b * cos_sin[0, half + i]) + rounded(a * cos_sin[1, half + i]))


@njit
def _remember(step: Any, layer: Any, thread: Any, threads: Any) -> None:
    """This thread's share of the new token's keys and values, into their places."""
    size, heads_out, cos_sin = step.head_size, heads_out_of(step), cos_sin_of(step)
    keys, values = cached(step, layer.keys), cached(step, layer.values)
    key = carray(floats_at(scratch_at(step, thread)), size)
    begin, end = _part(step.batch * step.kv_heads, thread, threads)
    for number in range(begin, end):
        seq, head = number // step.kv_heads, number % step.kv_heads
        _rotated(heads_out, seq, (step.heads + head) * size, cos_sin, key)
        first = (step.heads + step.kv_heads + head) * size
        for i in range(size):
            keys[seq, head, step.held, i] = narrow(key[i])
            values[seq, head, step.held, i] = narrow(heads_out[seq, first + i])


@njit(fastmath=SUMS, error_model="numpy")
def _attend(query: Any, keys: Any, values: Any, scale: Any, weights: Any, out: Any) -> None:
    """Softmax attention of one head's query [size] to keys and values [n, size]; `weights` has n places."""
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
    """The sum of weighted values [n, size], four tokens at a time: sums are fetched and stored less often."""
    count, size = values.shape
    together = count - count % 4
    out[:] = np.float32(0)
    for token in range(0, together, 4):
        a, b, c, d = weights[token], weights[token + 1], weights[token + 2], weights[token + 3]
        for i in range(size):
            out[i] += (a * wide(values[token, i]) + b * wide(values[token + 1, i])) + (
                c * wide(values[token + 2, i]) + d * wide(values[token + 3, i])
            )
    for token in range(together, count):
        for i in range(size):
            out[i] += weights[token] * wide(values[token, i])


@njit
def _mix(step: Any, layer: Any, thread: Any, threads: Any) -> None:
    """This thread's heads' attention, to [batch, heads · size]; its scratch has room for it."""
    size, tokens, heads_out, cos_sin = step.head_size, step.held + 1, heads_out_of(step), cos_sin_of(step)
    scratch, attn_out = carray(floats_at(scratch_at(step, thread)), step.scratch_size), attn_out_of(step)
    query, sums, weights = scratch[:size], scratch[size : 2 * size], scratch[2 * size :]
    keys, values = cached(step, layer.keys), cached(step, layer.values)
    begin, end = _part(step.batch * step.heads, thread, threads)
    for number in range(begin, end):
        seq, head = number // step.heads, number % step.heads
        shared = head // (step.heads // step.kv_heads)
        _rotated(heads_out, seq, head * size, cos_sin, query)
        _attend(query, keys[seq, shared, :tokens], values[seq, shared, :tokens], step.scale, weights, sums)
        for i in range(size):
            attn_out[seq, head * size + i] = rounded(sums[i])


@njit(error_model="numpy")  # a division that may raise is not done for many at once
def _activate(gate: Any, up: Any, thread: Any, threads: Any) -> None:
    """This thread's columns of gate = silu(gate) · up."""
    begin, end = share(gate.shape[1], thread, threads)
    for of in range(gate.shape[0]):
        for i in range(begin, end):
            x = gate[of, i]
            gate[of, i] = rounded(rounded(x / (np.float32(1) + _exp(-x))) * up[of, i])


@njit
def _attention(step: Any, layer: Any, thread: Any, threads: Any) -> None:
    """x += attention(norm(x)); all threads have met at its end."""
    x, heads_out, attn_out, product = x_of(step), heads_out_of(step), attn_out_of(step), product_of(step)
    at, scratch = x_address(step, thread), matmul_scratch(step, thread)
    keys_from, values_from = step.queries, step.queries + step.kv_heads * step.head_size
    _norm(x, layer.attention_norm, step.epsilon, _normed(step, thread), at)
    multiply(layer.query, at, scratch, heads_out, 0, thread, threads)
    multiply(layer.key, at, scratch, heads_out, keys_from, thread, threads)
    multiply(layer.value, at, scratch, heads_out, values_from, thread, threads)
    barrier()
    _remember(step, layer, thread, threads)
    barrier()
    _mix(step, layer, thread, threads)
    barrier()
    lay_out(attn_out, at)
    multiply(layer.out, at, scratch, product, 0, thread, threads)
    _add(x, product, thread, threads)
    barrier()


@njit
def _feed(step: Any, layer: Any, thread: Any, threads: Any) -> None:
    """x += SwiGLU(norm(x)); all threads have met at its end."""
    x, gate, up, product = x_of(step), gate_of(step), up_of(step), product_of(step)
    at, scratch = x_address(step, thread), matmul_scratch(step, thread)
    _norm(x, layer.feed_norm, step.epsilon, _normed(step, thread), at)
    multiply(layer.gate, at, scratch, gate, 0, thread, threads)
    multiply(layer.up, at, scratch, up, 0, thread, threads)
    _activate(gate, up, thread, threads)
    barrier()
    lay_out(gate, at)
    multiply(layer.down, at, scratch, product, 0, thread, threads)
    _add(x, product, thread, threads)
    barrier()


@njit(inline="always")
def _normed(step: Any, thread: Any) -> Any:
    """Where this thread has normed values [batch, hidden]."""
    return carray(floats_at(scratch_at(step, thread)), (step.batch, step.hidden))


@cfunc(types.void(types.CPointer(from_dtype(STEP))), cache=True)
def run(address: Any) -> None:
    """One thread's part of a step; OpenMP calls it in every thread of a team."""
    step, thread, threads = carray(address, 1)[0], thread_number(), thread_count()
    layers, at = layers_of(step), x_address(step, thread)
    for number in range(step.layer_count):
        layer = layers[number]
        _attention(step, layer, thread, threads)
        _feed(step, layer, thread, threads)
    _norm(x_of(step), step.norm, step.epsilon, _normed(step, thread), at)
    multiply(step.head, at, matmul_scratch(step, thread), logits_of(step), 0, thread, threads)
