"""A GGUF file in llama.cpp: its weights as the file has them, and a cache for the whole context.

Pure arithmetic. What the worker reports of its server is by these functions too.
"""

from engine.config.runtime import CacheDtype
from engine.plan.terms import Term
from engine.shape.model_shape import ModelShape

CACHE_ELEMENT_BYTES = 2  # float16
Q8_0_BYTES = 34 / 32  # a float16 scale for each 32 numbers of a byte
LIBRARIES_BYTES = 91 << 20
"""Python, llama.cpp and its buffers: the resident set with the demo, without weights and cache."""


def weights(shape: ModelShape) -> tuple[Term, ...]:
    """As stored."""
    size = sum(tensor.stored_bytes for tensor in shape.tensors)
    return (Term("packed weights", size, f"{len(shape.tensors)} tensors as the file has them"),)


def cache(shape: ModelShape, tokens: int, dtype: CacheDtype = "auto") -> tuple[Term, ...]:
    """Keys and values of the whole context, which llama.cpp allocates at load; `int8` is its q8_0."""
    found = shape.architecture
    numbers = found.latent_size or found.kv_heads * (found.key_size + found.value_size)
    layers = len(found.windows)
    each = CACHE_ELEMENT_BYTES if dtype == "auto" else Q8_0_BYTES
    origin = f"{numbers} numbers × {each} B × {layers} layers × {tokens} tokens"
    return (Term("keys and values", int(numbers * each * layers * tokens), origin),)


def libraries() -> tuple[Term, ...]:
    """What the process holds besides."""
    return (Term("libraries", LIBRARIES_BYTES, "Python, llama.cpp and its buffers: measured with the demo"),)
