"""The input of a compiled step: every field once, with its dtype, its shape and its view in compiled code.

Owns the two records, `STEP` and `LAYER`. Knows neither torch nor what is computed with them.
"""

from typing import Any

import numpy as np
from numba import carray, from_dtype, njit

from engine.worker.step.cpu.kernels.matmul import MATRIX
from engine.worker.step.cpu.kernels.values import ADDRESS, COUNT, bf16_at, float32_at, pointer

LAYER = np.dtype(
    [
        ("attention_norm", ADDRESS),  # bf16 [hidden]
        ("query_norm", ADDRESS),  # bf16 [head size], or 0: of each head
        ("key_norm", ADDRESS),
        ("rotary", COUNT),  # first numbers of a head that this layer rotates: all layers' or none
        *((name, MATRIX) for name in ("query", "key", "value", "out")),
        ("feed_norm", ADDRESS),
        *((name, MATRIX) for name in ("gate", "up", "down")),
        ("keys", ADDRESS),  # bf16 [batch, kv heads, capacity, head size]
        ("values", ADDRESS),
    ]
)

COUNTS = (
    "layer_count",
    *("batch", "hidden", "inner", "heads", "kv_heads", "head_size", "rotary", "vocabulary"),
    "queries",  # heads · head size
    "projected",  # (heads + 2 kv heads) · head size
    "capacity",  # of the cache, in tokens
    "held",  # tokens in it, without this step's
    *("threads", "scratch_size"),
    "x_offset",  # of matmul inputs in a thread's scratch, after [batch, hidden] normed values
    "matmul_offset",  # of the matmuls' own scratch in it
)

ARRAYS: dict[str, tuple[int | str, str]] = {
    "x": ("batch", "hidden"),  # embeddings, then the sum of all layers
    "cos_sin": (2, "rotary"),
    "heads_out": ("batch", "projected"),  # queries, keys and values, one after another
    "attn_out": ("batch", "queries"),
    "gate": ("batch", "inner"),
    "up": ("batch", "inner"),
    "matmul_out": ("batch", "hidden"),
    "logits": ("batch", "vocabulary"),
    "scratch": ("threads", "scratch_size"),  # one row per thread
}
"""Arrays of float32 by name, with their shape: a number, or one of COUNTS."""

STEP = np.dtype(
    [
        ("layers", ADDRESS),  # LAYER [layer count]
        ("norm", ADDRESS),
        ("head", MATRIX),
        ("epsilon", np.float32),
        ("scale", np.float32),  # of the attention's scores
        ("residual_scale", np.float32),  # of what a layer adds
        ("logits_scale", np.float32),  # that logits are divided by
        *((name, COUNT) for name in COUNTS),
        *((name, ADDRESS) for name in ARRAYS),
    ]
)

_layers_at = pointer(from_dtype(LAYER))


def shape(name: str, counts: Any) -> tuple[int, int]:
    """Of an array, with the numbers that `counts` has."""
    rows, columns = ARRAYS[name]
    return rows if isinstance(rows, int) else int(counts[rows]), int(counts[columns])


def _view(name: str) -> Any:
    """A compiled function from a step to that array."""
    rows, columns = ARRAYS[name]
    if isinstance(rows, int):

        @njit(inline="always")
        def fixed(step: Any) -> Any:
            return carray(float32_at(step[name]), (rows, step[columns]))

        return fixed

    @njit(inline="always")
    def view(step: Any) -> Any:
        return carray(float32_at(step[name]), (step[rows], step[columns]))

    return view


x_of, cos_sin_of, heads_out_of, attn_out_of = map(_view, ("x", "cos_sin", "heads_out", "attn_out"))
gate_of, up_of, matmul_out_of, logits_of = map(_view, ("gate", "up", "matmul_out", "logits"))


@njit(inline="always")
def layers_of(step: Any) -> Any:
    """The step's layers."""
    return carray(_layers_at(step.layers), step.layer_count)


@njit(inline="always")
def cache_view(step: Any, address: Any) -> Any:
    """A layer's cached keys or values, bf16."""
    return carray(bf16_at(address), (step.batch, step.kv_heads, step.capacity, step.head_size))


@njit(inline="always")
def scratch_at(step: Any, thread: Any) -> Any:
    """The address of a thread's scratch."""
    return step.scratch + np.uint64(4 * step.scratch_size * thread)


@njit(inline="always")
def x_address(step: Any, thread: Any) -> Any:
    """The address of matmul inputs in it."""
    return scratch_at(step, thread) + np.uint64(4 * step.x_offset)


@njit(inline="always")
def matmul_scratch(step: Any, thread: Any) -> Any:
    """The address of the matmuls' own scratch in it."""
    return scratch_at(step, thread) + np.uint64(4 * step.matmul_offset)
