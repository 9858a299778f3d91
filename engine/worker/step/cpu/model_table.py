"""Linear layers as compiled code reads them: plain, repacked, or a quantizer's own, in place.

Owns what is known of other packages' 8-bit layers, which are read as they are and must have run once. Nothing
is copied. Knows nothing of models.
"""

from typing import Any

import torch
from torch import Tensor, nn

from engine.config.runtime import BLOCK, VECTOR
from engine.worker.step.cpu import compile
from engine.worker.step.cpu.int4 import Int4Weights
from engine.worker.step.linear import FusedLinear

_STATIC = ("TorchInt8Linear", "TorchInt8AwqLinear")


def supports(layer: Any) -> bool:
    """Whether compiled code reads this layer."""
    if layer.in_features % VECTOR:
        return False
    if isinstance(layer, FusedLinear):
        return isinstance(layer.weights, Int4Weights)
    if type(layer) is nn.Linear:
        return _is_plain(layer.weight)
    return (_is_dynamic(layer) or _is_static(layer)) and compile.has_vectors()


def has_rows_from(layer: Any, first: int) -> bool:
    """Whether compiled code can begin at this row of a layer: 4-bit rows lie in blocks."""
    return not isinstance(layer, FusedLinear) or first % BLOCK == 0


def describe(layer: Any, matrix: Any, first: int, rows: int) -> list[Tensor]:
    """Fill a record of `matmul.MATRIX` with `rows` rows from `first` on; returns what must outlive it."""
    if isinstance(layer, FusedLinear) and isinstance(layer.weights, Int4Weights):
        layer.weights.describe(matrix, layer.first + first, rows)
        return list(layer.weights.tensors)
    held = (*_held(layer), None if layer.bias is None else layer.bias.detach())
    weights, scales, bias = (None if each is None else each[first : first + rows] for each in held)
    matrix["kind"], matrix["weights"] = _kind(layer), _address(weights)
    matrix["rows"], matrix["columns"] = rows, layer.in_features
    matrix["scales"], matrix["bias"] = _address(scales), _address(bias)
    matrix["outlier"] = layer.state.threshold if _is_dynamic(layer) else 0.0
    return [tensor for tensor in held if tensor is not None]


def _kind(layer: Any) -> int:
    kernel: Any = compile.kernels()
    if type(layer) is nn.Linear:
        return int(kernel.BF16)
    return int(kernel.INT8_DYNAMIC if _is_dynamic(layer) else kernel.INT8)


def _held(layer: Any) -> tuple[Tensor, Tensor | None]:
    """Weights [rows, columns], and the scale of each row where there is one."""
    if type(layer) is nn.Linear:
        return layer.weight.detach(), None  # a parameter may get other memory
    if _is_dynamic(layer):
        return layer.state.CB, layer.state.SCB
    return layer.int8_module.int8_weight_nk, layer.int8_module.int8_channel_scale


def _is_plain(weight: Tensor) -> bool:
    """bf16 rows at addresses of whole words; other packages' tensors that claim to be bf16 are none."""
    return (
        type(weight) is nn.Parameter
        and weight.dtype == torch.bfloat16
        and weight.is_contiguous()
        and weight.data_ptr() % 4 == 0
    )


def _is_dynamic(layer: Any) -> bool:
    """LLM.int8 of bitsandbytes."""
    if type(layer).__name__ != "Linear8bitLt":
        return False
    held, scales = layer.state.CB, layer.state.SCB
    return _are(held, torch.int8) and _are(scales, torch.float32) and _has_bf16_bias(layer)


def _is_static(layer: Any) -> bool:
    """GPTQModel's layers with int8 weights and bf16 values."""
    module = getattr(layer, "int8_module", None)
    if type(layer).__name__ not in _STATIC or module is None or layer.adapter:
        return False
    held, scales = module.int8_weight_nk, module.int8_channel_scale
    return _are(held, torch.int8) and _are(scales, torch.bfloat16) and _has_bf16_bias(layer)


def _are(values: object, dtype: torch.dtype) -> bool:
    return isinstance(values, Tensor) and values.dtype == dtype and values.is_contiguous()


def _has_bf16_bias(layer: Any) -> bool:
    return layer.bias is None or layer.bias.dtype == torch.bfloat16


def _address(tensor: Tensor | None) -> int:
    return 0 if tensor is None else tensor.data_ptr()
