# ruff: noqa: PLR0913, PLR0917  # compiled functions are given arrays, not objects
"""A whole decode step of a Llama-like bf16 model as one compiled function, for every OpenMP thread of a team.

Between two products the threads meet at a barrier, and nothing else stands there: no Python, no allocation,
no start of a team. Sums are float32; what transformers rounds to bf16 is rounded here, at the same places.
Compiled by numba once a machine, and cached. Owns the arithmetic and the tables that describe a model to it;
knows neither torch nor transformers.

Values that are multiplied with weights lie apart by the parity of their index, "even" and "odd": two bf16
weights are then one 32-bit load, a shift and a mask, which every processor does for many at once.
"""

import ctypes
from typing import Any

import llvmlite.binding as llvm
import numpy as np
from numba import carray, cfunc, from_dtype, njit, types
from numba.extending import intrinsic

ADDRESS = np.uint64
COUNT = np.int64

MATRIX = np.dtype([("weights", ADDRESS), ("bias", ADDRESS), ("rows", COUNT), ("columns", COUNT)])
"""bf16 weights [rows, columns] and bf16 bias [rows], or address 0."""

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
    ]
)

SUMS = {"reassoc", "contract", "nsz", "arcp"}  # sums in any order; infinities stay what they are
_BF16_HALF, _BF16_MASK = np.uint32(0x7FFF), np.uint32(0xFFFF0000)

_barrier = types.ExternalFunction("GOMP_barrier", types.void())
_thread = types.ExternalFunction("omp_get_thread_num", types.int32())
_threads = types.ExternalFunction("omp_get_num_threads", types.int32())


def link(openmp: ctypes.CDLL) -> None:
    """Tell the compiler where OpenMP is: the library whose teams run the step."""
    for name in ("GOMP_barrier", "omp_get_thread_num", "omp_get_num_threads"):
        llvm.add_symbol(name, ctypes.cast(getattr(openmp, name), ctypes.c_void_p).value)


def _pointer(kind: types.Type) -> Any:
    """A function from an address to a pointer at values of this kind."""

    @intrinsic
    def at(context: Any, address: Any) -> Any:
        def generate(context: Any, builder: Any, signature: Any, values: Any) -> Any:
            return builder.inttoptr(values[0], context.get_value_type(signature.return_type))

        return types.CPointer(kind)(address), generate

    return at


_bf16, _pairs, _floats = _pointer(types.uint16), _pointer(types.uint32), _pointer(types.float32)
_layers = _pointer(from_dtype(LAYER))


@njit(inline="always")
def _rounded(x: Any) -> Any:
    """To bf16, ties to even, kept as float32."""
    bits = np.float32(x).view(np.uint32)
    bits = np.uint32(bits + _BF16_HALF + ((bits >> np.uint32(16)) & np.uint32(1)))
    return np.uint32(bits & _BF16_MASK).view(np.float32)


@njit(inline="always")
def _wide(bits: Any) -> Any:
    """A bf16 as float32."""
    return np.uint32(np.uint32(bits) << np.uint32(16)).view(np.float32)


@njit(inline="always")
def _first(bits: Any) -> Any:
    """The lower of two bf16 in a word, as float32."""
    return np.uint32(bits << np.uint32(16)).view(np.float32)


@njit(inline="always")
def _second(bits: Any) -> Any:
    """The upper one."""
    return np.uint32(bits & _BF16_MASK).view(np.float32)


@njit(inline="always")
def _narrow(x: Any) -> Any:
    """A float32 that holds a bf16, as that."""
    return np.uint16(np.float32(x).view(np.uint32) >> np.uint32(16))


@njit(inline="always")
def _share(count: Any, thread: Any, threads: Any) -> Any:
    """First and behind the last of what one thread of many does."""
    return count * thread // threads, count * (thread + 1) // threads


@njit(fastmath=SUMS)
def _dot(weights: Any, row: Any, even: Any, odd: Any, of: Any) -> Any:
    """One row's product with the values of sequence `of`."""
    low, high = np.float32(0), np.float32(0)
    for pair in range(even.shape[1]):
        bits = weights[row, pair]
        low += _first(bits) * even[of, pair]
        high += _second(bits) * odd[of, pair]
    return low + high


@njit(fastmath=SUMS)
def _four_dots(weights: Any, row: Any, even: Any, odd: Any, of: Any) -> Any:
    """The same for four sequences from `of` on: weights are widened once."""
    a, b, c, d = np.float32(0), np.float32(0), np.float32(0), np.float32(0)
    for pair in range(even.shape[1]):
        bits = weights[row, pair]
        low, high = _first(bits), _second(bits)
        a += low * even[of, pair] + high * odd[of, pair]
        b += low * even[of + 1, pair] + high * odd[of + 1, pair]
        c += low * even[of + 2, pair] + high * odd[of + 2, pair]
        d += low * even[of + 3, pair] + high * odd[of + 3, pair]
    return a, b, c, d


@njit
def _multiply(matrix: Any, even: Any, odd: Any, out: Any, first: Any, thread: Any, threads: Any) -> None:
    """This thread's rows of y = x Wᵀ + b, rounded, to the columns of `out` from `first` on."""
    weights = carray(_pairs(matrix.weights), (matrix.rows, matrix.columns // 2))
    bias = carray(_bf16(matrix.bias), matrix.rows)
    batch = out.shape[0]
    fours = batch - batch % 4
    begin, end = _share(matrix.rows, thread, threads)
    for row in range(begin, end):
        shift = _wide(bias[row]) if matrix.bias else np.float32(0)
        for of in range(0, fours, 4):
            a, b, c, d = _four_dots(weights, row, even, odd, of)
            out[of, first + row], out[of + 1, first + row] = _rounded(a + shift), _rounded(b + shift)
            out[of + 2, first + row], out[of + 3, first + row] = _rounded(c + shift), _rounded(d + shift)
        for of in range(fours, batch):
            out[of, first + row] = _rounded(_dot(weights, row, even, odd, of) + shift)


@njit
def _add(x: Any, y: Any, thread: Any, threads: Any) -> None:
    """This thread's columns of x += y, rounded."""
    begin, end = _share(x.shape[1], thread, threads)
    for of in range(x.shape[0]):
        for i in range(begin, end):
            x[of, i] = _rounded(x[of, i] + y[of, i])


@njit(fastmath=SUMS)
def _norm(x: Any, weight_address: Any, epsilon: Any, even: Any, odd: Any) -> None:
    """RMS norm of every sequence, apart by parity: in float32, rounded, and then scaled."""
    batch, size = x.shape
    weight = carray(_bf16(weight_address), size)
    for of in range(batch):
        squares = np.float32(0)
        for i in range(size):
            squares += x[of, i] * x[of, i]
        scale = np.float32(1) / np.sqrt(squares / np.float32(size) + epsilon)
        for pair in range(size // 2):
            even[of, pair] = _rounded(_wide(weight[2 * pair]) * _rounded(x[of, 2 * pair] * scale))
            odd[of, pair] = _rounded(_wide(weight[2 * pair + 1]) * _rounded(x[of, 2 * pair + 1] * scale))


@njit
def _apart(x: Any, even: Any, odd: Any) -> None:
    """Every sequence's values, by parity."""
    for of in range(x.shape[0]):
        for pair in range(x.shape[1] // 2):
            even[of, pair], odd[of, pair] = x[of, 2 * pair], x[of, 2 * pair + 1]


@njit
def _turned(x: Any, of: Any, first: Any, turn: Any, out: Any) -> None:
    """RoPE on the head that begins at x[of, first]: halves (a, b) become (a cos - b sin, b cos + a sin)."""
    half = out.shape[0] // 2
    for i in range(half):
        a, b = x[of, first + i], x[of, first + half + i]
        out[i] = _rounded(_rounded(a * turn[0, i]) - _rounded(b * turn[1, i]))
        out[half + i] = _rounded(_rounded(b * turn[0, half + i]) + _rounded(a * turn[1, half + i]))


@njit
def _remember(step: Any, layer: Any, heads_out: Any, turn: Any, one: Any, thread: Any, threads: Any) -> None:
    """This thread's share of the new token's keys and values, into their places."""
    shape = (step.batch, step.kv_heads, step.room, step.head_size)
    keys, values = carray(_bf16(layer.keys), shape), carray(_bf16(layer.values), shape)
    begin, end = _share(step.batch * step.kv_heads, thread, threads)
    for number in range(begin, end):
        of, head = number // step.kv_heads, number % step.kv_heads
        _turned(heads_out, of, (step.heads + head) * step.head_size, turn, one[: step.head_size])
        first = (step.heads + step.kv_heads + head) * step.head_size
        for i in range(step.head_size):
            keys[of, head, step.held, i] = _narrow(one[i])
            values[of, head, step.held, i] = _narrow(heads_out[of, first + i])


@njit(fastmath=SUMS)
def _attend(query: Any, keys: Any, values: Any, scale: Any, weights: Any, mixed: Any) -> None:
    """Softmax attention of one head's query [size] to keys and values [n, size]; `weights` has n places."""
    count, size = keys.shape
    most = np.float32(-np.inf)
    for token in range(count):
        score = np.float32(0)
        for i in range(size):
            score += query[i] * _wide(keys[token, i])
        weights[token] = score * scale
        most = max(most, weights[token])
    total = np.float32(0)
    for token in range(count):
        weights[token] = np.exp(weights[token] - most)
        total += weights[token]
    mixed[:] = np.float32(0)
    for token in range(count):
        weight = weights[token] / total
        for i in range(size):
            mixed[i] += weight * _wide(values[token, i])


@njit
def _mix(
    step: Any, layer: Any, heads_out: Any, turn: Any, own: Any, mixed: Any, thread: Any, threads: Any
) -> None:
    """This thread's heads' attention, to [batch, heads · size]; `own` has room for it."""
    size, tokens = step.head_size, step.held + 1
    query, sums, weights = own[:size], own[size : 2 * size], own[2 * size :]
    shape = (step.batch, step.kv_heads, step.room, size)
    keys, values = carray(_bf16(layer.keys), shape), carray(_bf16(layer.values), shape)
    begin, end = _share(step.batch * step.heads, thread, threads)
    for number in range(begin, end):
        of, head = number // step.heads, number % step.heads
        shared = head // (step.heads // step.kv_heads)
        _turned(heads_out, of, head * size, turn, query)
        _attend(query, keys[of, shared, :tokens], values[of, shared, :tokens], step.scale, weights, sums)
        for i in range(size):
            mixed[of, head * size + i] = _rounded(sums[i])


@njit
def _activate(gate: Any, up: Any, thread: Any, threads: Any) -> None:
    """This thread's columns of gate = silu(gate) · up."""
    begin, end = _share(gate.shape[1], thread, threads)
    for of in range(gate.shape[0]):
        for i in range(begin, end):
            x = gate[of, i]
            gate[of, i] = _rounded(_rounded(x / (np.float32(1) + np.exp(-x))) * up[of, i])


@njit
def _by_parity(address: Any, batch: Any, size: Any) -> Any:
    """Room for [batch, size] values apart by parity: two arrays [batch, size / 2]."""
    pairs = size // 2
    even = carray(_floats(address), (batch, pairs))
    return even, carray(_floats(address + np.uint64(4 * batch * pairs)), (batch, pairs))


@cfunc(types.void(types.CPointer(from_dtype(STEP))), cache=True)
def run(address: Any) -> None:
    """One thread's part of a step; OpenMP calls it in every thread of a team."""
    step = carray(address, 1)[0]
    thread, threads = _thread(), _threads()
    batch, hidden, inner = step.batch, step.hidden, step.inner
    asked, given = step.heads * step.head_size, step.kv_heads * step.head_size
    layers = carray(_layers(step.layers), step.layer_count)
    x = carray(_floats(step.x), (batch, hidden))
    turn = carray(_floats(step.turn), (2, step.head_size))
    heads_out = carray(_floats(step.heads_out), (batch, asked + 2 * given))
    mixed = carray(_floats(step.mixed), (batch, asked))
    gate, up = carray(_floats(step.gate), (batch, inner)), carray(_floats(step.up), (batch, inner))
    product = carray(_floats(step.product), (batch, hidden))
    logits = carray(_floats(step.logits), (batch, step.head.rows))
    own_address = step.own + np.uint64(4 * step.own_size * thread)
    own = carray(_floats(own_address), step.own_size)
    even, odd = _by_parity(own_address, batch, hidden)
    even_mixed, odd_mixed = _by_parity(own_address, batch, asked)
    even_inner, odd_inner = _by_parity(own_address, batch, inner)

    for number in range(step.layer_count):
        layer = layers[number]
        _norm(x, layer.attention_norm, step.epsilon, even, odd)
        _multiply(layer.query, even, odd, heads_out, 0, thread, threads)
        _multiply(layer.key, even, odd, heads_out, asked, thread, threads)
        _multiply(layer.value, even, odd, heads_out, asked + given, thread, threads)
        _barrier()
        _remember(step, layer, heads_out, turn, own, thread, threads)
        _barrier()
        _mix(step, layer, heads_out, turn, own, mixed, thread, threads)
        _barrier()
        _apart(mixed, even_mixed, odd_mixed)
        _multiply(layer.out, even_mixed, odd_mixed, product, 0, thread, threads)
        _add(x, product, thread, threads)
        _barrier()
        _norm(x, layer.feed_norm, step.epsilon, even, odd)
        _multiply(layer.gate, even, odd, gate, 0, thread, threads)
        _multiply(layer.up, even, odd, up, 0, thread, threads)
        _activate(gate, up, thread, threads)
        _barrier()
        _apart(gate, even_inner, odd_inner)
        _multiply(layer.down, even_inner, odd_inner, product, 0, thread, threads)
        _add(x, product, thread, threads)
        _barrier()
    _norm(x, step.norm, step.epsilon, even, odd)
    _multiply(step.head, even, odd, logits, 0, thread, threads)
