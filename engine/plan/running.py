"""Bytes of a model at work: the KV cache, the peak of the activations, and what the libraries need.

Pure arithmetic. The cache is exact; the activations are an estimate of the largest moment, in the prefill.
"""

from engine.config import runtime
from engine.plan.target import Target
from engine.plan.terms import Term
from engine.shape.model_shape import Architecture, ModelShape

MIB = 1 << 20
CUDA_CONTEXT = "CUDA context"
CUDA_CONTEXT_BYTES = 500 * MIB
CUDA_WORKSPACE_BYTES = 32 * MIB
CUDA_STREAMS = 2  # answers are on one, graphs are captured on the other

LIBRARIES = {
    "transformers": 410 * MIB,
    "bitsandbytes": 450 * MIB,
    "gptqmodel": 590 * MIB,
    "autoawq": 540 * MIB,
    "auto-gptq": 465 * MIB,
}
"""Resident set of a worker that holds a tiny model, on a CPU build of torch (benchmarks/load_peak.py)."""
CUDA_BUILD_BYTES = 325 * MIB
"""What a build of torch for CUDA takes besides, likewise, on a machine without a GPU (2.13 for CUDA 13.0)."""
COMPILER_BYTES = 85 * MIB
"""numba, and the step that it compiled: likewise, from the cache."""
TOKENIZER_FACTOR = 12.0  # resident bytes a byte of tokenizer.json, measured with the same script


def kv_cache(found: Architecture, context: int, batch: int, target: Target) -> tuple[Term, ...]:
    """Keys and values of `context` tokens; a layer with a window keeps no more than that."""
    numbers = found.latent_size or found.kv_heads * (found.key_size + found.value_size)
    vectors = 2 * (1 if found.latent_size else found.kv_heads)
    token_bytes = runtime.cached_bytes(numbers, vectors, target.element_bytes, target.cache)
    whole = sum(window == 0 for window in found.windows)
    capacity = runtime.capacity_tokens(context, target.device_type)
    heads = f"{found.kv_heads} of {found.heads} heads × ({found.key_size} + {found.value_size})"
    held = f"latents of {found.latent_size} numbers" if found.latent_size else heads
    number = f"{target.element_bytes} B" if target.cache == "auto" else f"1 B, and {vectors} scales,"
    each = f"{held} × {number} × {{}} layers × {{}} tokens × {batch}"
    terms = [Term("keys and values", whole * token_bytes * capacity * batch, each.format(whole, capacity))]
    for window in sorted({window for window in found.windows if window}):
        count, kept = found.windows.count(window), min(context, window)
        size = count * token_bytes * kept * batch
        terms.append(Term(f"keys and values, window {window}", size, each.format(count, kept)))
    return tuple(term for term in terms if term.bytes)


def activations(shape: ModelShape, context: int, batch: int, target: Target) -> tuple[Term, ...]:
    """The largest moment of a prefill's last chunk, layer by layer, and the logits of its last token."""
    found, tokens = shape.architecture, _chunk_tokens(shape, target, context) * batch
    size = target.element_bytes
    heads = found.heads * found.key_size + found.kv_heads * (found.key_size + found.value_size)
    layer = 3 * found.hidden + max(heads, 3 * found.intermediate)
    spread = found.heads * (found.key_size + found.value_size) * (context * batch)
    repeats = spread * size if found.heads != found.kv_heads else 0
    return (
        Term("one layer of a chunk", tokens * layer * size, f"{tokens} tokens × {layer} numbers × {size} B"),
        Term("keys repeated for their heads", repeats, f"one layer, {context} tokens × {found.heads} heads"),
        Term("attention mask", tokens * context, "one byte a pair of tokens"),
        Term("logits", batch * found.vocabulary * (size + 4), f"last token, {target.dtype} and float32"),
    )


def _chunk_tokens(shape: ModelShape, target: Target, context: int) -> int:
    """Tokens of a prompt that are read at once."""
    return min(context, runtime.chunk_tokens(shape.parameters, target.device_type))


def dequantized(found: Architecture, target: Target) -> tuple[Term, ...]:
    """What a prompt is multiplied with where a CPU holds weights in 4 bits: the largest matrices, in bf16."""
    if target.held != "int4" or not target.is_compiled:
        return ()
    heads = found.heads * found.key_size + found.kv_heads * (found.key_size + found.value_size)
    rows = max(heads, 2 * found.intermediate)
    size = rows * found.hidden * target.element_bytes
    return (Term("dequantized weights", size, f"{rows} × {found.hidden}, the largest of a layer, in bf16"),)


def restored(found: Architecture, context: int, batch: int, target: Target) -> tuple[Term, ...]:
    """What the attention reads where a cache holds 8 bits: one layer's keys and values, as numbers again."""
    if target.cache == "auto":
        return ()
    numbers = found.latent_size or found.kv_heads * (found.key_size + found.value_size)
    size = numbers * target.element_bytes * context * batch
    return (Term("keys and values as numbers", size, f"one layer, {context} tokens in {target.dtype}"),)


def libraries(shape: ModelShape, package: str, target: Target) -> tuple[Term, ...]:
    """What a worker holds besides the model, on the device that the model is on."""
    if target.on_cpu:
        origin = f"Python, torch, transformers{'' if package == 'transformers' else ', ' + package}: measured"
        tokenizer = int(TOKENIZER_FACTOR * shape.tokenizer_bytes)
        compiler = COMPILER_BYTES if target.is_compiled else 0
        terms = (
            Term("libraries", LIBRARIES[package], origin),
            Term(
                "libraries for CUDA",
                CUDA_BUILD_BYTES * target.torch_has_cuda,
                "torch's, used or not: measured",
            ),
            Term("compiler", compiler, "numba, and the decode step that it compiled: measured"),
            Term("tokenizer", tokenizer, f"{TOKENIZER_FACTOR:g} × tokenizer.json, measured"),
        )
        return tuple(term for term in terms if term.bytes)
    return (
        Term(CUDA_CONTEXT, CUDA_CONTEXT_BYTES, "driver and loaded kernels: assumed, it varies by GPU"),
        Term(
            "cuBLAS workspaces",
            CUDA_STREAMS * CUDA_WORKSPACE_BYTES,
            f"one on each of {CUDA_STREAMS} streams; PyTorch's documentation: 32 MiB on Hopper, 8 below",
        ),
    )
