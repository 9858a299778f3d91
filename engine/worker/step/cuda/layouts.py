"""Linear layers as the kernels read them: floats, bitsandbytes' own bytes, or the engine's int4 in place.

Owns what is known of other packages' layers. Nothing is copied. Knows nothing of models; whether a layer was
read rightly is `check`'s to say.
"""

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from engine.worker.step.cuda.int4 import Int4Linear
from engine.worker.step.cuda.kernels.matrix import CHUNK, INT4, INT8_DYNAMIC, PLAIN, Matrix

_FLOATS = (torch.bfloat16, torch.float16, torch.float32)
_ALIGNED_BYTES = 16


@dataclass(frozen=True, slots=True)
class Held:
    """A layer's matrix and what is the same for all of its rows."""

    matrix: Matrix
    kind: int
    columns: int
    group: int = 1
    """Columns that share a scale."""

    @property
    def is_readable(self) -> bool:
        """Whether a thread's columns have one scale and whole words."""
        is_grouped = self.kind == INT4.value
        is_aligned = self.matrix.weights.data_ptr() % _ALIGNED_BYTES == 0
        return is_aligned and not self.columns % CHUNK and not (is_grouped and self.group % CHUNK)

    def shares_input_with(self, other: "Held") -> bool:
        """Whether one launch can multiply with both."""
        mine, theirs = self.matrix, other.matrix
        same_order = mine.order is theirs.order or (
            mine.order is not None and theirs.order is not None and torch.equal(mine.order, theirs.order)
        )
        return same_order and (self.kind, self.columns, self.group) == (
            other.kind,
            other.columns,
            other.group,
        )


def read(layer: nn.Module) -> Held | None:
    """How this layer is held; None where it is not known."""
    found = _read(layer)
    return found if found is not None and found.is_readable else None


def _read(layer: nn.Module) -> Held | None:
    if isinstance(layer, Int4Linear):
        return Held(layer.matrix, INT4.value, layer.in_features, layer.group)
    if type(layer) is nn.Linear:
        return _plain(layer)
    name = type(layer).__name__
    if name == "Linear4bit":
        return _four_bit(layer)
    return _eight_bit(layer) if name == "Linear8bitLt" else None


def _plain(layer: nn.Linear) -> Held | None:
    if type(layer.weight) is not nn.Parameter:  # another package's tensor, which only claims its dtype
        return None
    weight = layer.weight.detach()
    if weight.dtype not in _FLOATS or not weight.is_contiguous():
        return None
    return Held(Matrix(weight, layer.out_features, _bias(layer)), PLAIN.value, layer.in_features)


def _four_bit(layer: Any) -> Held | None:
    """bitsandbytes' NF4 and FP4: bytes of a row after the other, double quantization too."""
    state, held = layer.weight.quant_state, layer.weight.detach()
    if state is None or held.dtype != torch.uint8:
        return None
    rows, columns = state.shape
    if columns % state.blocksize or 2 * held.numel() != rows * columns or not held.is_contiguous():
        return None
    more: dict[str, Any] = {}
    if state.nested:
        if state.state2.blocksize != 256:
            return None
        more = {
            "nested_code": state.state2.code,
            "nested_scales": state.state2.absmax,
            "offset": float(state.offset),
        }
    matrix = Matrix(held, rows, _bias(layer), scales=state.absmax, code=state.code, **more)
    return Held(matrix, INT4.value, columns, state.blocksize)


def _eight_bit(layer: Any) -> Held | None:
    """LLM.int8, after it has run once."""
    held, scales = layer.state.CB, layer.state.SCB
    if not (isinstance(held, Tensor) and isinstance(scales, Tensor) and held.dtype == torch.int8):
        return None
    if not held.is_contiguous():
        return None
    matrix = Matrix(held, len(held), _bias(layer), scales=scales, threshold=float(layer.state.threshold or 0))
    return Held(matrix, INT8_DYNAMIC.value, held.shape[1])


def _bias(layer: Any) -> Tensor | None:
    return None if layer.bias is None else layer.bias.detach()
