"""Fused linear layers: one matrix for several layers, and modules that stand for each of them.

Layers that read the same input (q, k, v; gate, up) become one matmul: fewer calls, longer runs of memory.
Owns the modules and the shared result; the plain layers are freed. Knows neither kernels (`onednn`, …) nor
which layers are fused (`repack`).
"""

from abc import ABC, abstractmethod
from collections.abc import Callable

import torch
from torch import Tensor, nn


class FusedWeights(ABC):
    """The weights of layers that read the same input, stacked by rows, in some layout."""

    kernel: str
    """What the user sees: the class of the layers, or the engine's own kernel."""
    tensors: tuple[Tensor, ...]
    """All tensors that it holds."""
    tried_rows: tuple[int, ...] = (1, 3)
    """How many rows `matmul` is given where it is compared with the layers, once."""
    bias: Tensor | None
    """Of all rows; layers that read the same input all have one or all have none."""

    def __init__(self, widths: tuple[int, ...]) -> None:
        self.widths = widths
        self._unread = len(widths)
        self._input: Tensor | None = None
        self._output: Tensor | None = None

    @abstractmethod
    def matmul(self, x: Tensor) -> Tensor:
        """All layers' outputs, side by side, for x [..., in_features]."""

    def plain(self, first: int, count: int) -> dict[str, Tensor]:
        """These rows as a checkpoint stores them; TypeError where they cannot be converted back."""
        raise TypeError(f"{self.kernel}: repacked weights cannot be saved")

    def matmul_once(self, x: Tensor) -> Tensor:
        """The same as `matmul`, computed when the first layer asks and dropped when the last one has it."""
        if self._output is None or self._input is not x:
            self._input, self._output, self._unread = x, self.matmul(x), len(self.widths)
        output, self._unread = self._output, self._unread - 1
        if not self._unread:
            self._input = self._output = None
        return output


class FusedLinear(nn.Module):
    """y = x Wᵀ + b for x [..., in_features]: rows of `FusedWeights`. Has no `weight`, but may save one."""

    def __init__(self, weights: FusedWeights, first: int, in_features: int, out_features: int) -> None:
        super().__init__()
        self.weights, self.first = weights, first
        self.in_features, self.out_features = in_features, out_features

    @property
    def kernel_name(self) -> str:
        """The kernel, as the user sees it."""
        return self.weights.kernel

    @property
    def fused_biases(self) -> int:
        """How many biases are stored with the weights and are not parameters."""
        return 0 if self.weights.bias is None else self.out_features

    def held_tensors(self) -> tuple[Tensor, ...]:
        """All tensors of the matrix that this is a part of."""
        return self.weights.tensors

    def forward(self, x: Tensor) -> Tensor:
        """[..., in_features] → [..., out_features]."""
        return self.weights.matmul_once(x).narrow(-1, self.first, self.out_features)

    def _save_to_state_dict(self, destination: dict[str, Tensor], prefix: str, keep_vars: bool) -> None:
        for name, value in self.weights.plain(self.first, self.out_features).items():
            destination[prefix + name] = value


def side_by_side(*layers: nn.Module) -> Callable[[Tensor], Tensor]:
    """One function for layers with the same input: their outputs [..., sum of out_features]."""
    first = layers[0]
    if isinstance(first, FusedLinear) and len(first.weights.widths) == len(layers):
        return first.weights.matmul
    forwards = [layer.forward for layer in layers]
    if len(forwards) == 1:
        return forwards[0]
    return lambda x: torch.cat([forward(x) for forward in forwards], dim=-1)
