"""Bytes of a model's weights as they will be held, by method: packed weights, scales, and the rest.

Pure arithmetic on names and shapes. The layouts are those of the libraries as installed; each was compared
with loaded models (docs/measuring.md).
"""

from collections.abc import Iterable

from engine.config.layouts import COMPRESSED, Layout
from engine.config.methods import (
    BITSANDBYTES_BLOCK,
    DOUBLE_QUANT_BLOCK,
    Awq,
    BitsAndBytes,
    Checkpointed,
    Fp8,
    Method,
)
from engine.plan.packed_weights import WORD_BITS, Matrix, packed
from engine.plan.target import Target
from engine.plan.terms import Term
from engine.shape import roles
from engine.shape.model_shape import ModelShape, Tensor

_CODE_BOOK_BYTES = {4: 16 * 4}  # 16 float32 values a layer
_COMPRESSED = ("packed", "scale", "zero_point", "g_idx", "shape")
_PACKED_NAMES = (".qweight", ".qzeros", ".scales", ".g_idx", *(f".weight_{part}" for part in _COMPRESSED))
_SCALES_OF_FP8 = (".weight_scale", ".input_scale")
_OFFSET = 2  # XGLM's positions begin there
_ROTARY_DIM = 64  # of all published models of the kinds that keep tables of it
SCALES = {"scales", "scales and zero points", "group indices", "code books"}


def terms(shape: ModelShape, method: Method, target: Target) -> tuple[Term, ...]:
    """Every part of the weights that has bytes."""
    used = roles.used(shape)
    found = _of_stored(shape, used, target) if shape.packing else _of_plain(used, method, target)
    rest = [*_unquantized(shape, used, target), _rotary(shape), _tables(shape, target)]
    return tuple(term for term in (*found, *rest) if term.bytes)


def quantized(shape: ModelShape, method: Method) -> tuple[Tensor, ...]:
    """The matrices that the method quantizes."""
    if not isinstance(method, Checkpointed | BitsAndBytes | Fp8) or shape.packing:
        return ()
    inside = isinstance(method, Checkpointed | Fp8)
    linear = (
        tensor for tensor in roles.used(shape) if roles.role(tensor) == "linear" and len(tensor.shape) == 2
    )
    return tuple(tensor for tensor in linear if roles.is_in_layer(tensor) or not inside)


def packed_matrices(shape: ModelShape, method: Method) -> list[Matrix]:
    """Those that GPTQ and AWQ pack, or have packed."""
    if shape.packing and (layout := shape.packing.layout):
        return _matrices_of(roles.used(shape), layout)
    return [Matrix(*tensor.shape) for tensor in quantized(shape, method) if isinstance(method, Checkpointed)]


def parameters(shape: ModelShape) -> int:
    """Weights as the architecture counts them: a packed matrix counts what it holds, a tied head once."""
    used = roles.used(shape)
    if shape.packing and (layout := shape.packing.layout):
        packed = sum(matrix.elements for matrix in _matrices_of(used, layout))
        return packed + sum(tensor.elements for tensor in used if not tensor.name.endswith(_PACKED_NAMES))
    return sum(tensor.elements for tensor in used if not tensor.name.endswith(_SCALES_OF_FP8))


def active_parameters(shape: ModelShape) -> int:
    """Those that a token is multiplied with: of a mixture's experts, as many as one token uses."""
    found = shape.architecture
    held = sum(tensor.elements for tensor in roles.used(shape) if _is_expert(tensor))
    if not held or not 0 < found.experts_used < found.experts:
        return parameters(shape)
    return parameters(shape) - held + held * found.experts_used // found.experts


def _is_expert(tensor: Tensor) -> bool:
    return ".experts." in tensor.name or "_exps." in tensor.name  # GGUF's


def nominal_bits(method: Method, dtype_bits: int) -> int:
    """The bits that people multiply with."""
    return 8 if isinstance(method, Fp8) else int(getattr(method, "bits", dtype_bits))


def layout_of(method: Checkpointed) -> Layout:
    """How this method's checkpoint is packed."""
    if isinstance(method, Awq):
        return Layout("awq", method.bits, method.group_size, sym=not method.zero_point)
    return Layout("gptq", method.bits, method.group_size, method.sym, getattr(method, "desc_act", False))


def _of_plain(used: tuple[Tensor, ...], method: Method, target: Target) -> list[Term]:
    linear = [tensor for tensor in used if roles.role(tensor) == "linear"]
    if isinstance(method, BitsAndBytes | Fp8):  # transformers holds all experts of a layer as one tensor
        experts = [tensor for tensor in linear if len(tensor.shape) > 2 or _is_expert(tensor)]
        rest = [tensor for tensor in linear if tensor not in experts]
        held = _fp8_of(rest, target) if isinstance(method, Fp8) else _bitsandbytes(rest, method, target)
        return held + _plain(experts, target, "experts, which stay as they are")
    if isinstance(method, Checkpointed):
        inside = [tensor for tensor in linear if roles.is_in_layer(tensor) and len(tensor.shape) == 2]
        matrices = [Matrix(*tensor.shape) for tensor in inside]
        outside = [tensor for tensor in linear if tensor not in inside]
        return [*packed(matrices, layout_of(method), target), *_plain(outside, target, "linear layers left")]
    return _plain(linear, target, "linear layers")


def _fp8_of(linear: list[Tensor], target: Target) -> list[Term]:
    inside = [tensor for tensor in linear if roles.is_in_layer(tensor) and not roles.is_router(tensor.name)]
    outside = [tensor for tensor in linear if tensor not in inside]
    left = _plain(outside, target, "linear layers left") if outside else []
    return [*_fp8([Matrix(*tensor.shape) for tensor in inside]), *left]


def _fp8(matrices: list[Matrix]) -> list[Term]:
    size, rows = sum(matrix.elements for matrix in matrices), sum(matrix.rows for matrix in matrices)
    scales = Term("scales", 4 * rows, "one float32 a row")
    return [Term("quantized linear layers", size, "8 bits a weight"), scales]


def _bitsandbytes(linear: Iterable[Tensor], method: BitsAndBytes, target: Target) -> list[Term]:
    matrices = [Matrix(*tensor.shape) for tensor in linear]
    elements = sum(matrix.elements for matrix in matrices)
    if method.bits == 8:
        rows = sum(matrix.rows for matrix in matrices)
        scales = Term("scales", 4 * rows, "one float32 a row")
        return [Term("quantized linear layers", elements, "8 bits a weight"), scales]
    blocks = sum(-(-matrix.elements // BITSANDBYTES_BLOCK) for matrix in matrices)
    held_books = 0 if target.is_compiled else len(matrices)  # the compiled step has one for all
    books = Term("code books", _CODE_BOOK_BYTES[4] * held_books, "16 float32 values a matrix")
    packed = Term("quantized linear layers", elements // 2, "4 bits a weight")
    return [packed, _absmax(blocks, matrices, method, target), books]


def _absmax(blocks: int, matrices: list[Matrix], method: BitsAndBytes, target: Target) -> Term:
    """The scales of 4-bit weights. CPUs with AVX512_BF16 repack them to bf16 in the first pass."""
    if target.has_vectors:
        return Term("scales", 2 * blocks, f"bf16 a {BITSANDBYTES_BLOCK} weights, repacked for this processor")
    if method.double_quant:
        second = sum(-(-matrix.elements // (BITSANDBYTES_BLOCK * DOUBLE_QUANT_BLOCK)) for matrix in matrices)
        nested = blocks + 4 * second + (256 * 4 + 4) * len(matrices)
        return Term("scales", nested, "8 bits a 64 weights, float32 a 256 of these, a code book a matrix")
    return Term("scales", 4 * blocks, f"float32 a {BITSANDBYTES_BLOCK} weights")


def _of_stored(shape: ModelShape, used: tuple[Tensor, ...], target: Target) -> list[Term]:
    """A checkpoint that is quantized already: GPTQ's, AWQ's by layout, GGUF unpacked, others as stored."""
    packing = shape.packing
    if packing is None or packing.method == "gguf":
        linear = [tensor for tensor in used if roles.role(tensor) == "linear"]
        return _plain(linear, target, "linear layers, unpacked while they are read")
    if layout := packing.layout:
        plain = [tensor for tensor in used if _is_left(tensor)]
        left = _plain(plain, target, "linear layers left") if plain else []
        return [*packed(_matrices_of(used, layout), layout, target), *left]
    if packing.is_fp8:
        return _stored_fp8(used, target)
    if packing.method == COMPRESSED:  # its other schemes are unpacked
        return _plain([tensor for tensor in used if _is_left(tensor)], target, "linear layers, unpacked")
    stored = sum(tensor.stored_bytes for tensor in used if roles.is_in_layer(tensor) and tensor.shape)
    return [Term("quantized linear layers", stored, f"as {packing.method} stores them")]


def _stored_fp8(used: tuple[Tensor, ...], target: Target) -> list[Term]:
    scaled = {tensor.name.removesuffix("_scale") for tensor in used if tensor.name.endswith(".weight_scale")}
    held = [Matrix(*tensor.shape) for tensor in used if tensor.name in scaled and len(tensor.shape) == 2]
    left = [tensor for tensor in used if _is_left(tensor) and tensor.name not in scaled]
    return [*_fp8(held), *(_plain(left, target, "linear layers left") if left else [])]


def _is_left(tensor: Tensor) -> bool:
    """Whether it is a matrix of a layer that a packed checkpoint has in full precision."""
    is_linear = roles.role(tensor) == "linear" and roles.is_in_layer(tensor)
    return is_linear and not tensor.name.endswith(_PACKED_NAMES)


def _matrices_of(used: tuple[Tensor, ...], layout: Layout) -> list[Matrix]:
    """The matrices that packed words [in × bits / 32, out] stand for.

    AWQ's are [in, out × bits / 32], compressed-tensors' [out, in × bits / 32].
    """
    words = [tensor.shape for tensor in used if tensor.name.endswith(".qweight")]
    widen = WORD_BITS / layout.bits
    if layout.method == "awq":
        return [Matrix(int(shape[1] * widen), shape[0]) for shape in words]
    compressed = [tensor.shape for tensor in used if tensor.name.endswith(".weight_packed")]
    return [
        *(Matrix(shape[1], int(shape[0] * widen)) for shape in words),
        *(Matrix(shape[0], int(shape[1] * widen)) for shape in compressed),
    ]


def _plain(linear: list[Tensor], target: Target, name: str) -> list[Term]:
    size = sum(tensor.elements for tensor in linear) * target.element_bytes
    return [Term(name, size, f"{len(linear)} matrices in {target.dtype}")]


def _unquantized(shape: ModelShape, used: tuple[Tensor, ...], target: Target) -> list[Term]:
    """Embedding, head, norms and biases, in the model's dtype."""
    tied = (
        "embedding and output head are one tensor" if shape.architecture.tied else "table of the vocabulary"
    )
    kept = [tensor for tensor in used if not tensor.name.endswith((*_PACKED_NAMES, *_SCALES_OF_FP8))]
    if shape.packing and not shape.packing.layout and shape.packing.method not in {"gguf", COMPRESSED}:
        kept = [tensor for tensor in kept if not roles.is_in_layer(tensor)]
    sizes = {
        role: target.element_bytes * sum(tensor.elements for tensor in kept if roles.role(tensor) == role)
        for role in ("embedding", "head", "other")
    }
    return [
        Term("embedding", sizes["embedding"], f"{tied}, in {target.dtype}"),
        Term("output head", sizes["head"], f"left as it is, in {target.dtype}"),
        Term("norms and biases", sizes["other"], f"in {target.dtype}"),
    ]


def _rotary(shape: ModelShape) -> Term:
    """transformers keeps the frequencies twice: as they are used and as they were."""
    found = shape.architecture
    return Term("rotary tables", 2 * 4 * (found.key_size // 2) * found.rotary, "float32, two a model")


def _tables(shape: ModelShape, target: Target) -> Term:
    """What older models compute for their whole window when they are made, and keep."""
    found = shape.architecture
    window, row = found.context_length, found.context_length * found.hidden * target.element_bytes
    sizes = {
        "gpt_bigcode": (window**2, "mask of the window's pairs, a byte each"),
        "gpt_neo": (found.layers * window**2, "masks of the window's pairs, a byte each, one a layer"),
        "gptj": (found.layers * window * _ROTARY_DIM * 4, "positions in float32, a table a layer"),
        "codegen": (found.layers * window * _ROTARY_DIM * 4, "positions in float32, a table a layer"),
        "xglm": (row + _OFFSET * found.hidden * target.element_bytes, f"positions in {target.dtype}"),
        "ctrl": (row, f"positions in {target.dtype}"),
    }
    return Term("tables of the window", *sizes.get(found.model_type, (0, "")))
