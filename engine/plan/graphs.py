"""Bytes on a GPU for a captured decode step: its memory, caches of two sizes, and the first one at load.

Pure arithmetic. Nothing of it was measured on a GPU.
"""

from engine.config import runtime
from engine.plan import running
from engine.plan.target import Target
from engine.plan.terms import Term, total
from engine.shape.model_shape import Architecture, ModelShape

MIB = 1 << 20
POOL_BYTES = 22 * MIB  # of torch's allocator: one segment of each of its two sizes


def answering(
    shape: ModelShape, kv_cache: tuple[Term, ...], context: int, batch: int, target: Target
) -> tuple[Term, ...]:
    """Besides the cache of `context` tokens: the graph, and the cache of half the capacity, which is kept."""
    if not is_captured(shape.architecture, target):
        return ()
    grown = runtime.capacity_tokens(context, target.device_type) > runtime.LEAST_GPU_CAPACITY
    halved = Term(
        "smaller cache", total(kv_cache) // 2 * grown, "half the capacity, kept after the cache has grown"
    )
    return tuple(term for term in (_graph(shape, batch, target), halved) if term.bytes)


def loading(shape: ModelShape, new_tokens: int, target: Target) -> tuple[Term, ...]:
    """What the first graph takes, captured with the model, for answers of `new_tokens`."""
    found = shape.architecture
    if not is_captured(found, target):
        return ()
    tokens = runtime.first_tokens(new_tokens, found.context_length)
    cache = total(running.kv_cache(found, tokens, 1, target))
    capacity = runtime.capacity_tokens(tokens, target.device_type)
    return (_graph(shape, 1, target), Term("first cache", cache, f"keys and values of {capacity} tokens"))


def is_captured(found: Architecture, target: Target) -> bool:
    """Whether steps are replayed: on one GPU, where every layer keeps every token."""
    return target.device.startswith("cuda") and not any(found.windows)


def _graph(shape: ModelShape, batch: int, target: Target) -> Term:
    logits = batch * shape.architecture.vocabulary * target.element_bytes
    return Term("CUDA graph", POOL_BYTES + logits, "the allocator's least, and the logits it writes: assumed")
