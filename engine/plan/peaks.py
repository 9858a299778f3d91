"""The two peaks that surprise people: while a model is loaded, and while a checkpoint is quantized.

Pure arithmetic. On a CPU checkpoint files are mapped, so their pages are resident while they are read: the
kernel can take them back, but they are in every figure of the resident set.
"""

from typing import Literal

from engine.config import runtime as rules
from engine.config.methods import BitsAndBytes, Checkpointed, Fp8, Method, original
from engine.plan.target import Target
from engine.plan.terms import Term, total
from engine.plan.weights import quantized
from engine.shape import roles
from engine.shape.model_shape import DTYPE_BYTES, ModelShape

GGUF_ENTRY_BYTES = 5000  # of the vocabulary, as the reader and the tokenizer's conversion hold it
FileRead = Literal["made", "quantized on load", "rounded to FP8", "source"]
PERPLEXITY_TOKENS = 512  # quantizing checks itself with logits of this many tokens, in two dtypes


def package(method: Method, shape: ModelShape) -> str:
    """The library that a load of this method imports besides torch and transformers."""
    if package := original(method):
        return package
    if isinstance(method, Checkpointed) or (shape.packing and shape.packing.layout):
        return "gptqmodel"
    is_bitsandbytes = isinstance(method, BitsAndBytes) or (
        shape.packing is not None and shape.packing.method == "bitsandbytes"
    )
    return "bitsandbytes" if is_bitsandbytes else "transformers"


def file_read(method: Method, *, checkpoint_is_there: bool) -> FileRead:
    """Which file a load of this method reads."""
    if isinstance(method, Fp8):  # whose weights are read into the model's dtype first, made or not
        return "rounded to FP8"
    if isinstance(method, Checkpointed) or (isinstance(method, BitsAndBytes) and checkpoint_is_there):
        return "made"
    return "quantized on load" if isinstance(method, BitsAndBytes) else "source"


def loading(
    shape: ModelShape, file: FileRead, target: Target, weights: tuple[Term, ...], runtime: tuple[Term, ...]
) -> tuple[Term, ...]:
    """Everything that is held at the load's peak, the loaded weights among it."""
    held = Term("weights", total(weights), "as held when loaded")
    if not target.on_cpu:
        largest = max((tensor.stored_bytes for tensor in roles.used(shape)), default=0)
        return (*runtime, held, Term("one tensor on its way", largest, "the largest, before its conversion"))
    reading = (*runtime, held, *_on_cpu(shape, file, target, weights))
    buffers = Term(
        "copy speed's buffers", 2 * rules.COPY_BUFFER_BYTES, "two, measured with after the model is read"
    )
    measuring = (*runtime, held, buffers)
    return max(reading, measuring, key=total)


def rehearsing(
    weights: tuple[Term, ...], runtime: tuple[Term, ...], rehearsal: tuple[Term, ...]
) -> tuple[Term, ...]:
    """The same at the load's end, when a GPU has what the first answer needs: `rehearsal`."""
    return (*runtime, Term("weights", total(weights), "as held when loaded"), *rehearsal)


def _on_cpu(shape: ModelShape, file: FileRead, target: Target, weights: tuple[Term, ...]) -> list[Term]:
    if shape.packing and shape.packing.method == "gguf":
        vocabulary = GGUF_ENTRY_BYTES * shape.architecture.vocabulary
        table = Term(
            "the file's vocabulary", vocabulary, f"{GGUF_ENTRY_BYTES} B an entry, measured with one file"
        )
        largest = max((tensor.elements for tensor in roles.used(shape)), default=0)
        unpacked = largest * (4 + target.element_bytes)
        unpacking = Term("one tensor unpacked", unpacked, f"the largest, in float32 and in {target.dtype}")
        return [_file(shape.file_bytes), table, unpacking]
    if file == "rounded to FP8" or (shape.packing and shape.packing.is_fp8):
        matrices = (tensor for tensor in roles.used(shape) if roles.is_in_layer(tensor))
        elements = sum(tensor.elements for tensor in matrices if len(tensor.shape) == 2)
        more = elements * (target.element_bytes - 1)
        source = Term("until they are rounded", more, f"the layers' matrices, in {target.dtype}")
        is_mapped = shape.packing is not None or shape.dtype != target.dtype
        return [source, *([_file(shape.file_bytes)] if is_mapped and shape.file_bytes else [])]
    if file == "made" and not shape.packing:
        return [_file(total(weights))]  # of the checkpoint that was made
    if shape.packing or file == "quantized on load" or shape.dtype != target.dtype:
        return [_file(shape.file_bytes)] if shape.file_bytes else []
    return []


def _file(size: int) -> Term:
    return Term("checkpoint file", size, "mapped pages, released after loading", droppable=True)


def quantizing(
    shape: ModelShape, method: Method, target: Target, weights: tuple[Term, ...], libraries: tuple[Term, ...]
) -> tuple[Term, ...]:
    """What making the checkpoint takes of the host's memory, where the method makes one.

    The model is held there in full precision, layer after layer is replaced by its packed form, and the
    perplexity before and after takes all logits of a window.
    """
    if not isinstance(method, Checkpointed) or shape.packing:
        return ()
    size = sum(tensor.elements for tensor in roles.used(shape)) * target.element_bytes
    by_layer: dict[str, int] = {}
    for tensor in quantized(shape, method):
        name = roles.layer_of(tensor)
        by_layer[name] = by_layer.get(name, 0) + tensor.elements
    largest = max(by_layer.values(), default=0)
    logits = PERPLEXITY_TOKENS * shape.architecture.vocabulary * (DTYPE_BYTES[target.dtype] + 3 * 4)
    return (
        *libraries,
        Term("source in full precision", size, f"in {target.dtype}, on the CPU"),
        Term("source file", shape.file_bytes, "mapped pages while it is read", droppable=True),
        Term("result", total(weights), "packed layers, next to the source"),
        Term("one layer at work", 3 * 4 * largest, "weights, rounded weights and errors in float32"),
        Term("logits of the check", logits, f"{PERPLEXITY_TOKENS} tokens: the model's and three in float32"),
    )
