"""Which kind of step will decode a model, and how it holds the linear layers: `runtime`'s rules on headers.

Pure. Knows what methods and checkpoints are to those rules; must not know bytes.
"""

from engine.config import runtime
from engine.config.formats import DEQUANTIZED
from engine.config.layouts import INT4_BITS, Layout, fits_int4, on_cpu
from engine.config.methods import BITSANDBYTES_BLOCK, BitsAndBytes, Checkpointed, Fp8, Method
from engine.config.runtime import Linear, Matrices, StepKind
from engine.plan.target import Target
from engine.plan.weights import layout_of
from engine.shape.model_shape import Architecture, ModelShape

_BY_KERNEL: dict[str, Linear] = {"torch_int8": "int8"}
_UNPACKED = ("gguf", "compressed-tensors", *DEQUANTIZED)  # on load


def kind(shape: ModelShape, method: Method, target: Target) -> StepKind:
    """What decodes this model there; `target.step` is not looked at."""
    return _kind(shape.architecture, _matrices(shape, method, target), target)


def held(shape: ModelShape, method: Method, target: Target) -> Linear:
    """How a CPU holds the linear layers; the same is not looked at."""
    return _matrices(shape, method, target).held


def is_int4(found: Architecture, layout: Layout, target: Target) -> bool:
    """Whether packed weights are held in the compiled step's four bits: what planner and loader both ask."""
    if target.device != "cpu" or not fits_int4(layout):
        return False
    matrices = Matrices(held="int4", sizes=_sizes(found), group_size=layout.group_size)
    return _kind(found, matrices, target) == "compiled"


def is_held_anew(shape: ModelShape, method: Method, target: Target) -> bool:
    """Whether a GPU holds GPTQ's and AWQ's weights in four bits that the engine's kernels read."""
    layout = _layout(shape, method)
    return layout is not None and holds_anew(shape.architecture, layout, target)


def holds_anew(found: Architecture, layout: Layout, target: Target) -> bool:
    """The same of weights that are known to be packed: what planner and loader both ask."""
    is_packed = layout.bits in INT4_BITS and target.device.startswith("cuda")
    has_step = runtime.is_native(found.model_type, has_windows=any(found.windows))
    is_read = runtime.reads_cache("compiled", target.cache)
    return is_packed and has_step and is_read and runtime.compiles_on_gpu()


def _kind(found: Architecture, matrices: Matrices, target: Target) -> StepKind:
    device, dtype = target.device, target.dtype
    if device == "split" or not runtime.is_native(found.model_type, has_windows=any(found.windows)):
        return "forward"
    is_compiled = runtime.is_compiled(
        matrices, dtype=dtype, activation=found.activation, flags=target.flags, cache=target.cache
    )
    return "compiled" if device == "cpu" and is_compiled else "native"


def _matrices(shape: ModelShape, method: Method, target: Target) -> Matrices:
    layout, sizes = _layout(shape, method), _sizes(shape.architecture)
    if layout is not None:
        linear = _held_packed(shape.architecture, layout, target)
        return Matrices(held=linear, sizes=sizes, group_size=layout.group_size)
    linear = _held(shape, method)
    return Matrices(
        held=linear, sizes=sizes, group_size=BITSANDBYTES_BLOCK if linear == "int4" else runtime.VECTOR
    )


def _layout(shape: ModelShape, method: Method) -> Layout | None:
    """Of GPTQ's and AWQ's weights, where the model has such."""
    if shape.packing:
        return shape.packing.layout
    return layout_of(method) if isinstance(method, Checkpointed) else None


def _held_packed(found: Architecture, layout: Layout, target: Target) -> Linear:
    if is_int4(found, layout, target):
        return "int4"
    return _BY_KERNEL.get(on_cpu(layout, target.dtype).backend.partition("_")[2], "other")


def _held(shape: ModelShape, method: Method) -> Linear:
    """Of all others."""
    if shape.packing and shape.packing.method == "bitsandbytes":
        return "int8" if any(tensor.name.endswith(".SCB") for tensor in shape.tensors) else "int4"
    is_fp8 = shape.packing.is_fp8 if shape.packing else isinstance(method, Fp8)
    if is_fp8 or (shape.packing and shape.packing.method not in _UNPACKED):
        return "other"
    if isinstance(method, BitsAndBytes):
        return "int8" if method.bits == 8 else "int4"
    return "plain"


def _sizes(found: Architecture) -> list[tuple[int, int]]:
    """Rows and columns of a layer's matrices."""
    asked, kept = found.heads * found.key_size, found.kv_heads * found.key_size
    hidden, inner = found.hidden, found.intermediate
    return [(asked, hidden), (kept, hidden), (hidden, asked), (inner, hidden), (hidden, inner)]
