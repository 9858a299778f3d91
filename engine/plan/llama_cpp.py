"""A GGUF file in llama.cpp: its weights as the file has them, and a cache for the whole context.

Pure arithmetic. What the worker reports of its server is by these functions too.
"""

from engine.plan.terms import Term
from engine.shape.model_shape import ModelShape

CACHE_ELEMENT_BYTES = 2  # float16
LIBRARIES_BYTES = 91 << 20
"""Python, llama.cpp and its buffers: the resident set with the demo, without weights and cache."""


def weights(shape: ModelShape) -> tuple[Term, ...]:
    """As stored."""
    size = sum(tensor.stored_bytes for tensor in shape.tensors)
    return (Term("packed weights", size, f"{len(shape.tensors)} tensors as the file has them"),)


def cache(shape: ModelShape, tokens: int) -> tuple[Term, ...]:
    """Keys and values of the whole context, which llama.cpp allocates at load."""
    found = shape.architecture
    numbers = found.latent_size or found.kv_heads * (found.key_size + found.value_size)
    layers = len(found.windows)
    origin = f"{numbers} numbers × {CACHE_ELEMENT_BYTES} B × {layers} layers × {tokens} tokens"
    return (Term("keys and values", numbers * CACHE_ELEMENT_BYTES * layers * tokens, origin),)


def libraries() -> tuple[Term, ...]:
    """What the process holds besides."""
    return (Term("libraries", LIBRARIES_BYTES, "Python, llama.cpp and its buffers: measured with the demo"),)
