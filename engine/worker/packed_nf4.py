"""bitsandbytes' 4-bit weights, multiplied by its own C function without the module around it.

The module costs more time than the product: for one row it spends 50 µs on Python and checks. Owns the call
of that function, which is no public interface: a product that has not the module's own bits is not used.
"""

import ctypes
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from engine.worker.packed_linear import Packed

_FUNCTIONS = {"nf4": "gemv_4bit_inference_cpu_nf4_bf16", "fp4": "gemv_4bit_inference_cpu_fp4_bf16"}


def packed(layers: Sequence[nn.Module]) -> Packed | None:
    """These layers as one, where all are bitsandbytes' and have run once, which packs them for the CPU."""
    if not all(type(layer).__name__ == "Linear4bit" and _is_suited(layer) for layer in layers):
        return None
    states: list[Any] = [layer.weight.quant_state for layer in layers]
    if len({(state.quant_type, state.blocksize, state.shape[1]) for state in states}) > 1:
        return None
    function = _function(states[0].quant_type)
    return PackedNf4(layers, function) if function else None


def _is_suited(layer: Any) -> bool:
    """Whether its weights are in the CPU's layout, and its arithmetic is bf16."""
    state = getattr(layer.weight, "quant_state", None)
    is_packed = getattr(state, "packing_format_for_cpu", False) and layer.weight.dtype == torch.uint8
    return bool(is_packed) and layer.compute_dtype == torch.bfloat16


def _function(quant_type: str) -> Callable[..., None] | None:
    """bitsandbytes' own function, where its operator uses that one too."""
    from bitsandbytes.backends.cpu import ops

    if getattr(ops, "gemm_4bit_forward_kernel", None) is not None:  # another package's kernel
        return None
    return getattr(getattr(ops, "lib", None), _FUNCTIONS[quant_type], None)


class PackedNf4(Packed):
    """Packed nibbles [sum of out_features, in_features / 2] and scales [in_features / block, …]."""

    kernel = "Linear4bit"

    def __init__(self, layers: Sequence[Any], function: Callable[..., None]) -> None:
        super().__init__(tuple(layer.out_features for layer in layers))
        states = [layer.weight.quant_state for layer in layers]
        weights = torch.cat([layer.weight.data.view(layer.out_features, -1) for layer in layers])
        scales = torch.cat([state.absmax.to(torch.bfloat16) for state in states], dim=1).contiguous()
        biases = [layer.bias.detach().to(torch.bfloat16) for layer in layers if layer.bias is not None]
        self.bias = torch.cat(biases) if biases else None
        self.tensors = (weights, scales) if self.bias is None else (weights, scales, self.bias)
        self._function = function
        self._columns, self._block = int(states[0].shape[1]), ctypes.c_int64(states[0].blocksize)
        self._held = (ctypes.c_void_p(weights.data_ptr()), ctypes.c_void_p(scales.data_ptr()))

    def product(self, x: Tensor) -> Tensor:
        """In bf16, as the module computes."""
        rows = x.reshape(-1, self._columns).to(torch.bfloat16).contiguous()
        width, columns = sum(self.widths), ctypes.c_int64(self._columns)
        y = torch.empty((len(rows), width), dtype=torch.bfloat16)
        sizes = (ctypes.c_int64(len(rows)), ctypes.c_int64(width), columns)
        strides = (self._block, columns, ctypes.c_int64(width))
        source, target = ctypes.c_void_p(rows.data_ptr()), ctypes.c_void_p(y.data_ptr())
        self._function(*sizes, source, *self._held, target, *strides)
        if self.bias is not None:
            y += self.bias
        return y.view(*x.shape[:-1], width).to(x.dtype)
