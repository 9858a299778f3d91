# ruff: noqa: PLR0913, PLR0917  # compiled functions are given arrays, not objects
"""A whole decode step of a Llama-like model as one compiled function, for every OpenMP thread of a team.

Between two products the threads meet at a barrier, and nothing else stands there: no Python, no allocation,
no start of a team. Sums are float32; what transformers rounds to bf16 is rounded here, at the same places.
Compiled by numba once a machine, and cached. Owns the arithmetic and the tables that describe a model to it;
knows neither torch nor transformers.
"""

from typing import Any

import numpy as np
from numba import carray, cfunc, from_dtype, njit, types

from engine.worker.step.cpu.kernels.int8 import SPARE
from engine.worker.step.cpu.kernels.products import (
    BF16,
    BYTES,
    DYNAMIC_BYTES,
    HAS_VECTORS,
    MATRIX,
    NIBBLES,
    WIDENING,
    dots,
    lay_out,
    multiply,
    widen,
)
from engine.worker.step.cpu.kernels.team import barrier, thread_count, thread_number
from engine.worker.step.cpu.kernels.values import (
    ADDRESS,
    COUNT,
    SUMS,
    bf16_at,
    floats_at,
    narrow,
    pointer,
    rounded,
    share,
    wide,
)

__all__ = [
    "BF16",
    "BYTES",
    "DYNAMIC_BYTES",
    "HAS_VECTORS",
    "NIBBLES",
    "SPARE",
    "STEP",
    "WIDENING",
    "run",
    "widen",
]

LAYER = np.dtype(
    [
        ("attention_norm", ADDRESS),  # bf16 [hidden]
        ("query", MATRIX),
        ("key", MATRIX),
        ("value", MATRIX),
        ("out", MATRIX),
        ("feed_norm", ADDRESS),
        ("gate", MATRIX),
        ("up", MATRIX),
        ("down", MATRIX),
        ("keys", ADDRESS),  # bf16 [batch, kv heads, room, head size]
        ("values", ADDRESS),
    ]
)

STEP = np.dtype(
    [
        ("layers", ADDRESS),  # LAYER [layer count]
        ("layer_count", COUNT),
        ("norm", ADDRESS),
        ("head", MATRIX),
        ("batch", COUNT),
        ("hidden", COUNT),
        ("heads", COUNT),
        ("kv_heads", COUNT),
        ("head_size", COUNT),
        ("room", COUNT),  # places for tokens
        ("held", COUNT),  # tokens in them, without this step's
        ("epsilon", np.float32),
        ("scale", np.float32),  # of the attention's scores
        ("inner", COUNT),  # SwiGLU's width
        ("x", ADDRESS),  # float32 [batch, hidden]: embeddings, then the sum of all layers
        ("turn", ADDRESS),  # float32 [2, head size]: cosine and sine
        ("heads_out", ADDRESS),  # float32 [batch, (heads + 2 kv heads) · head size]
        ("mixed", ADDRESS),  # float32 [batch, heads · head size]
        ("gate", ADDRESS),  # float32 [batch, inner]
        ("up", ADDRESS),  # float32 [batch, inner]
        ("product", ADDRESS),  # float32 [batch, hidden]
        ("logits", ADDRESS),  # float32 [batch, vocabulary]
        ("own", ADDRESS),  # float32 [threads, own size]: each thread's own
        ("own_size", COUNT),
        ("laid_out", COUNT),  # where in it products' inputs are, behind [batch, hidden] normed values
        ("spare", COUNT),  # where in it products have room for themselves
    ]
)

_layers_at = pointer(from_dtype(LAYER))


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
def _turned(x: Any, of: Any, first: Any, turn: Any, out: Any) -> None:
    """RoPE on the head that begins at x[of, first]: halves (a, b) become (a cos - b sin, b cos + a sin)."""
    half = out.shape[0] // 2
    for i in range(half):
        a, b = x[of, first + i], x[of, first + half + i]
        out[i] = rounded(rounded(a * turn[0, i]) - rounded(b * turn[1, i]))
        out[half + i] = rounded(rounded(b * turn[0, half + i]) + rounded(a * turn[1, half + i]))


@njit
def _remember(step: Any, layer: Any, heads_out: Any, turn: Any, one: Any, thread: Any, threads: Any) -> None:
    """This thread's share of the new token's keys and values, into their places."""
    shape = (step.batch, step.kv_heads, step.room, step.head_size)
    keys, values = carray(bf16_at(layer.keys), shape), carray(bf16_at(layer.values), shape)
    begin, end = _part(step.batch * step.kv_heads, thread, threads)
    for number in range(begin, end):
        of, head = number // step.kv_heads, number % step.kv_heads
        _turned(heads_out, of, (step.heads + head) * step.head_size, turn, one[: step.head_size])
        first = (step.heads + step.kv_heads + head) * step.head_size
        for i in range(step.head_size):
            keys[of, head, step.held, i] = narrow(one[i])
            values[of, head, step.held, i] = narrow(heads_out[of, first + i])


@njit(fastmath=SUMS, error_model="numpy")
def _attend(query: Any, keys: Any, values: Any, scale: Any, weights: Any, mixed: Any) -> None:
    """Softmax attention of one head's query [size] to keys and values [n, size]; `weights` has n places."""
    count = keys.shape[0]
    dots(query, keys, mixed, weights)
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
    _sum_up(weights, values, mixed)


@njit(fastmath=SUMS)
def _sum_up(weights: Any, values: Any, mixed: Any) -> None:
    """The sum of weighted values [n, size], four tokens at a time: sums are fetched and stored less often."""
    count, size = values.shape
    together = count - count % 4
    mixed[:] = np.float32(0)
    for token in range(0, together, 4):
        a, b, c, d = weights[token], weights[token + 1], weights[token + 2], weights[token + 3]
        for i in range(size):
            mixed[i] += (a * wide(values[token, i]) + b * wide(values[token + 1, i])) + (
                c * wide(values[token + 2, i]) + d * wide(values[token + 3, i])
            )
    for token in range(together, count):
        for i in range(size):
            mixed[i] += weights[token] * wide(values[token, i])


@njit
def _mix(
    step: Any, layer: Any, heads_out: Any, turn: Any, own: Any, mixed: Any, thread: Any, threads: Any
) -> None:
    """This thread's heads' attention, to [batch, heads · size]; `own` has room for it."""
    size, tokens = step.head_size, step.held + 1
    query, sums, weights = own[:size], own[size : 2 * size], own[2 * size :]
    shape = (step.batch, step.kv_heads, step.room, size)
    keys, values = carray(bf16_at(layer.keys), shape), carray(bf16_at(layer.values), shape)
    begin, end = _part(step.batch * step.heads, thread, threads)
    for number in range(begin, end):
        of, head = number // step.heads, number % step.heads
        shared = head // (step.heads // step.kv_heads)
        _turned(heads_out, of, head * size, turn, query)
        _attend(query, keys[of, shared, :tokens], values[of, shared, :tokens], step.scale, weights, sums)
        for i in range(size):
            mixed[of, head * size + i] = rounded(sums[i])


@njit(error_model="numpy")  # a division that may raise is not done for many at once
def _activate(gate: Any, up: Any, thread: Any, threads: Any) -> None:
    """This thread's columns of gate = silu(gate) · up."""
    begin, end = share(gate.shape[1], thread, threads)
    for of in range(gate.shape[0]):
        for i in range(begin, end):
            x = gate[of, i]
            gate[of, i] = rounded(rounded(x / (np.float32(1) + _exp(-x))) * up[of, i])


@cfunc(types.void(types.CPointer(from_dtype(STEP))), cache=True)
def run(address: Any) -> None:
    """One thread's part of a step; OpenMP calls it in every thread of a team."""
    step = carray(address, 1)[0]
    thread, threads = thread_number(), thread_count()
    batch, hidden, inner = step.batch, step.hidden, step.inner
    asked, given = step.heads * step.head_size, step.kv_heads * step.head_size
    layers = carray(_layers_at(step.layers), step.layer_count)
    x = carray(floats_at(step.x), (batch, hidden))
    turn = carray(floats_at(step.turn), (2, step.head_size))
    heads_out = carray(floats_at(step.heads_out), (batch, asked + 2 * given))
    mixed = carray(floats_at(step.mixed), (batch, asked))
    gate, up = carray(floats_at(step.gate), (batch, inner)), carray(floats_at(step.up), (batch, inner))
    product = carray(floats_at(step.product), (batch, hidden))
    logits = carray(floats_at(step.logits), (batch, step.head.rows))
    own_at = step.own + np.uint64(4 * step.own_size * thread)
    own = carray(floats_at(own_at), step.own_size)
    normed = carray(floats_at(own_at), (batch, hidden))
    at, spare = own_at + np.uint64(4 * step.laid_out), own_at + np.uint64(4 * step.spare)

    for number in range(step.layer_count):
        layer = layers[number]
        _norm(x, layer.attention_norm, step.epsilon, normed, at)
        multiply(layer.query, at, spare, heads_out, 0, thread, threads)
        multiply(layer.key, at, spare, heads_out, asked, thread, threads)
        multiply(layer.value, at, spare, heads_out, asked + given, thread, threads)
        barrier()
        _remember(step, layer, heads_out, turn, own, thread, threads)
        barrier()
        _mix(step, layer, heads_out, turn, own, mixed, thread, threads)
        barrier()
        lay_out(mixed, at)
        multiply(layer.out, at, spare, product, 0, thread, threads)
        _add(x, product, thread, threads)
        barrier()
        _norm(x, layer.feed_norm, step.epsilon, normed, at)
        multiply(layer.gate, at, spare, gate, 0, thread, threads)
        multiply(layer.up, at, spare, up, 0, thread, threads)
        _activate(gate, up, thread, threads)
        barrier()
        lay_out(gate, at)
        multiply(layer.down, at, spare, product, 0, thread, threads)
        _add(x, product, thread, threads)
        barrier()
    _norm(x, step.norm, step.epsilon, normed, at)
    multiply(step.head, at, spare, logits, 0, thread, threads)
