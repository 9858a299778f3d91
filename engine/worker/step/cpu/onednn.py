"""Plain bf16 weights in oneDNN's own layout: reordered once, about twice as fast for one row.

Owns the call. Its results were bit for bit those of the plain layers wherever they were compared. Only bf16:
in float32 it was measured and gains little. Knows nothing of models.
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from engine.worker.step.linear import FusedWeights

_linear = torch.ops.mkldnn._linear_pointwise.default


def _is_supported() -> bool:
    """Whether this processor multiplies bf16 that way."""
    return torch.backends.mkldnn.is_available() and bool(torch.ops.mkldnn._is_mkldnn_bf16_supported())


def fuse(layers: Sequence[nn.Module]) -> FusedWeights | None:
    """These layers as one, where all of them are plain and bf16."""
    plain = [layer for layer in layers if type(layer) is nn.Linear and _is_plain(layer.weight)]
    return OneDnnWeights(plain) if _is_supported() and len(plain) == len(layers) else None


def _is_plain(weight: Tensor) -> bool:
    return type(weight) is nn.Parameter and weight.dtype == torch.bfloat16


class OneDnnWeights(FusedWeights):
    """One opaque tensor."""

    kernel = "OneDnnLinear"

    def __init__(self, layers: Sequence[nn.Linear]) -> None:
        super().__init__(tuple(layer.out_features for layer in layers))
        biases = [layer.bias.detach() for layer in layers if layer.bias is not None]
        weights = [layer.weight.detach() for layer in layers]
        rows = torch.cat(weights) if len(weights) > 1 else weights[0]  # [sum of out_features, in_features]
        self.tensor: Tensor = torch.ops.mkldnn._reorder_linear_weight(rows)
        self.bias = torch.cat(biases) if biases else None
        self.tensors = (self.tensor,) if self.bias is None else (self.tensor, self.bias)

    def matmul(self, x: Tensor) -> Tensor:
        """oneDNN's inner product."""
        y: Tensor = _linear(x, self.tensor, self.bias, "none", [], "")
        return y

    def plain(self, first: int, count: int) -> dict[str, Tensor]:
        """Weight [count, in_features] and bias [count] as they were."""
        values = {"weight": self.tensor.to_dense().narrow(0, first, count).clone()}
        if self.bias is not None:
            values["bias"] = self.bias.narrow(0, first, count).clone()
        return values
