"""Which kind of step will decode a model, and how it holds the linear layers: `runtime`'s rules on headers.

Pure. Knows what methods and checkpoints are to those rules; must not know bytes.
"""

from engine.config import runtime
from engine.config.formats import DEQUANTIZED
from engine.config.layouts import Layout, on_cpu
from engine.config.methods import BITSANDBYTES_BLOCK, BitsAndBytes, Checkpointed, Fp8, Method
from engine.config.runtime import Linear, Matrices, StepKind
from engine.plan.target import Target
from engine.plan.weights import layout_of
from engine.shape.model_shape import Architecture, ModelShape

_BY_KERNEL: dict[str, Linear] = {"torch_int8": "int8", "torch_aten": "int4"}
_UNPACKED = ("gguf", "compressed-tensors", *DEQUANTIZED)  # on load


def kind(shape: ModelShape, method: Method, target: Target) -> StepKind:
    """What decodes this model there; `target.step` is not looked at."""
    found, device, dtype = shape.architecture, target.device, target.dtype
    if device == "split" or not runtime.is_native(found.model_type, has_windows=any(found.windows)):
        return "forward"
    matrices = _matrices(shape, method, dtype)
    is_compiled = runtime.is_compiled(
        matrices, dtype=dtype, activation=found.activation, flags=target.flags, cache=target.cache
    )
    return "compiled" if device == "cpu" and is_compiled else "native"


def held(shape: ModelShape, method: Method, dtype: str) -> Linear:
    """How a CPU holds the linear layers."""
    return _matrices(shape, method, dtype).held


def _matrices(shape: ModelShape, method: Method, dtype: str) -> Matrices:
    layout, sizes = _layout(shape, method), tuple(_sizes(shape.architecture))
    if layout is not None:
        return Matrices(held=_held_packed(layout, dtype), sizes=sizes, group_size=layout.group_size)
    linear = _held(shape, method)
    return Matrices(
        held=linear, sizes=sizes, group_size=BITSANDBYTES_BLOCK if linear == "int4" else runtime.VECTOR
    )


def _layout(shape: ModelShape, method: Method) -> Layout | None:
    """Of GPTQ's and AWQ's weights, where the model has such."""
    if shape.packing:
        return shape.packing.layout
    return layout_of(method) if isinstance(method, Checkpointed) else None


def _held_packed(layout: Layout, dtype: str) -> Linear:
    held = _BY_KERNEL.get(on_cpu(layout, dtype).backend.partition("_")[2], "other")
    if layout.bits == 3:  # the engine's own int4, which has no kernel to do without
        held = "int4"
    return "other" if held == "int4" and layout.desc_act else held  # inputs in another order are not read


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
