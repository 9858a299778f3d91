"""What a worker will do with a model: facts that planner and worker share, each said once.

Owns the device that a wish means, the dtype, the chunks in which prompts are read, what a cache holds and its
capacity, and which kind of step decodes. `layouts` and `gpu_kernels` say which kernel multiplies with packed
weights, and `machine.hardware` how much memory there is. Knows no torch and asks no device.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal, get_args

from engine import paths
from engine.errors import LoadError

StepKind = Literal["forward", "native", "compiled"]
"""The step as one compiled function, without transformers' Python, or the model's own forward pass."""
Linear = Literal["plain", "int8", "int4", "other"]
"""How a model's linear layers are held, as far as the compiled step reads them."""
CacheDtype = Literal["auto", "fp8", "int8"]
"""How keys and values are held; `auto` is in the model's own dtype."""

# Where a model goes

USABLE_SHARE = 0.9
"""Of a GPU's free memory where a model is split over several: the rest is for activations and cache."""


def needs_gpu(wish: str) -> bool:
    """Whether a profile's `model.device` cannot be met without a GPU."""
    return wish not in {"cpu", "auto"}


def device(wish: str, gpus: int) -> str:
    """`cpu`, `cuda:0` or `split`, for a wish and a number of GPUs; LoadError where there is none."""
    if wish == "cpu" or (wish == "auto" and not gpus):
        return "cpu"
    if wish == "split":
        return wish
    index = int(wish.removeprefix("cuda:")) if ":" in wish else 0
    if index >= gpus:
        raise LoadError(f"there is no cuda:{index} here", f"{gpus} GPU(s), counted from cuda:0")
    return f"cuda:{index}"


def own_dtype(stored: str, *, has_bfloat16: bool) -> str:
    """What `model.dtype: auto` means: the checkpoint's own where the device computes in it."""
    return "float16" if stored == "bfloat16" and not has_bfloat16 else stored


COPY_BUFFER_BYTES = 64 << 20
"""Of each of the two buffers that a device's copy speed is measured with; more where its caches are large."""

# How a prompt is read

CPU_CHUNK_FLOP = 1.4e11  # about a second on two cores
LARGEST_CHUNK, SMALLEST_CHUNK = 2048, 32  # tokens


def chunk_tokens(parameters: int, device_type: str) -> int:
    """Prompt tokens read in one pass; fixed per model, because rounding depends on it.

    On a CPU the power of two that costs at most about 1.4e11 FLOP, two per parameter and token.
    """
    if device_type != "cpu":
        return LARGEST_CHUNK
    affordable = max(1, int(CPU_CHUNK_FLOP / (2 * max(1, parameters))))
    return min(LARGEST_CHUNK, max(SMALLEST_CHUNK, 1 << (affordable.bit_length() - 1)))


# How large a cache is

CPU_CAPACITY_STEP, LEAST_GPU_CAPACITY = 64, 256  # tokens
FIRST_PROMPT_TOKENS = 512
"""What a first prompt is expected to have."""
MOST_EXPECTED_TOKENS = 2048
"""New tokens that a cache is made for beforehand."""


def capacity_tokens(held: int, device_type: str, expected: int = 0) -> int:
    """The capacity of a cache that holds this many tokens: multiples of 64 on a CPU, powers of two on a GPU.

    On a GPU it is made for `expected` tokens from the start.
    """
    if device_type == "cpu":
        return -(-held // CPU_CAPACITY_STEP) * CPU_CAPACITY_STEP
    return max(LEAST_GPU_CAPACITY, 1 << (max(held, expected) - 1).bit_length())


def first_tokens(new_tokens: int, context_length: int) -> int:
    """What a first conversation takes: a prompt, and an answer as long as the profile lets it be."""
    wanted = FIRST_PROMPT_TOKENS + min(new_tokens, MOST_EXPECTED_TOKENS)
    return min(wanted, context_length or wanted)


# What a cache holds

CACHE_SCALE_BYTES = 2
"""bf16: the scale of a token's key, or value, of one head, where these are held in 8 bits."""


def cached_bytes(numbers: int, vectors: int, element_bytes: int, cache: CacheDtype) -> int:
    """A token's keys and values in one layer: so many numbers, in so many vectors of a head each."""
    return numbers * element_bytes if cache == "auto" else numbers + vectors * CACHE_SCALE_BYTES


def require_cache(cache: CacheDtype, name: str, *, keeps_all: bool) -> None:
    """LoadError where a model cannot have such a cache; `keeps_all`: each layer keeps all keys and values."""
    if cache != "auto" and not keeps_all:
        problem = f"{name} has layers that keep a window or a state: its cache is not held in 8 bits"
        raise LoadError(problem, f"`cache.dtype: auto`, in place of {cache}")


# Which kind of step decodes

NATIVE = {
    "llama": "LlamaForCausalLM",
    "mistral": "MistralForCausalLM",
    "qwen2": "Qwen2ForCausalLM",
    "qwen3": "Qwen3ForCausalLM",
    "phi3": "Phi3ForCausalLM",
    "smollm3": "SmolLM3ForCausalLM",
    "granite": "GraniteForCausalLM",
}
"""transformers' `model_type` and class of the families whose steps run without its Python."""
ONE_WINDOW = ("mistral", "phi3")
"""Families whose config names one window, for all layers."""
COMPILED_DTYPE, COMPILED_ACTIVATION = "bfloat16", "silu"
VECTOR = 32
"""Columns that the compiled step reads at once."""
BLOCK, WORD = 16, 8
"""Rows of a block, and columns of a word, of its 4-bit weights."""
VECTOR_FLAG = "avx512_bf16"
"""Of processors that multiply bf16: the compiled step reads 8-bit and 4-bit weights on these alone."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Matrices:
    """What is known of a model's linear layers, the output head aside, before it is loaded."""

    held: Linear
    sizes: Iterable[tuple[int, int]]
    """Rows and columns of each kind of matrix."""
    group_size: int = VECTOR
    """Weights of a row that share a scale; of `int4` only."""


def allows(kind: StepKind) -> bool:
    """Whether the user lets this kind decode: QUANTDUEL_STEP names the most. LoadError for another word."""
    kinds, most = get_args(StepKind), paths.step() or "compiled"
    if most not in kinds:
        raise LoadError(f"QUANTDUEL_STEP is {most!r}", f"expected one of {', '.join(kinds)}")
    return bool(kinds.index(kind) <= kinds.index(most))


def compiles_on_gpu() -> bool:
    """Whether models on a GPU decode with the engine's own kernels: where QUANTDUEL_STEP asks for it.

    Not by default until they have been measured on one.
    """
    return paths.step() == "compiled"


def window(family: str, tokens: int, context_length: int) -> int:
    """How far back such a family's layers look; 0, all the way, where every text that fits the model does."""
    return 0 if family in ONE_WINDOW and 0 < context_length <= tokens else tokens


def is_native(family: str, *, has_windows: bool) -> bool:
    """Whether a family's steps run without transformers' Python; `has_windows`: a layer forgets tokens."""
    return allows("native") and family in NATIVE and not has_windows


def reads_cache(kind: StepKind, cache: CacheDtype) -> bool:
    """Whether this kind of step reads such a cache: the compiled ones read numbers of the model's dtype."""
    return kind != "compiled" or cache == "auto"


def is_compiled(
    matrices: Matrices, *, dtype: str, activation: str, flags: Iterable[str], cache: CacheDtype = "auto"
) -> bool:
    """Whether a native model's step on a CPU is the compiled one."""
    if not (allows("compiled") and reads_cache("compiled", cache)):
        return False
    if dtype != COMPILED_DTYPE or activation != COMPILED_ACTIVATION or matrices.held == "other":
        return False
    if matrices.held != "plain" and VECTOR_FLAG not in flags:
        return False
    if matrices.held == "int4":
        return all(fits_int4(rows, columns, matrices.group_size) for rows, columns in matrices.sizes)
    return all(columns % VECTOR == 0 for _, columns in matrices.sizes)


def fits_int4(rows: int, columns: int, group_size: int) -> bool:
    """Whether a matrix of that size can be laid out as the compiled step's 4-bit weights; -1 is a row."""
    group = columns if group_size == -1 else group_size
    return rows % BLOCK == 0 and columns % VECTOR == 0 and group % WORD == 0 and columns % group == 0
