"""Linear layers that were packed together: modules that stand for them, and one product for all of them.

Layers that read the same input are one product: fewer calls, longer runs of memory. Owns the modules and the
sharing; the plain layers are given up. Knows neither kernels (`onednn`, …) nor which layers are packed
(`pack`).
"""

from abc import ABC, abstractmethod
from collections.abc import Callable

import torch
from torch import Tensor, nn


class Packed(ABC):
    """The weights of layers that read the same input, one below the other."""

    kernel: str
    """What the user is told: the class of the layers, or what packs them."""
    tensors: tuple[Tensor, ...]
    """All that is held."""
    bias: Tensor | None
    """Of all rows; layers that read the same input have one or have none."""

    def __init__(self, widths: tuple[int, ...]) -> None:
        self.widths = widths
        self._unread = len(widths)
        self._input: Tensor | None = None
        self._output: Tensor | None = None

    @abstractmethod
    def product(self, x: Tensor) -> Tensor:
        """All layers' outputs, side by side, for x [..., in_features]."""

    def plain(self, first: int, count: int) -> dict[str, Tensor]:
        """What a checkpoint would have of these rows; TypeError where that cannot be had again."""
        raise TypeError(f"{self.kernel}: packed weights cannot be saved")

    def product_for_one(self, x: Tensor) -> Tensor:
        """The same as `product`, computed when the first layer asks and let go when the last one has."""
        if self._output is None or self._input is not x:
            self._input, self._output, self._unread = x, self.product(x), len(self.widths)
        output, self._unread = self._output, self._unread - 1
        if not self._unread:
            self._input = self._output = None
        return output


class PackedLinear(nn.Module):
    """y = x Wᵀ + b for x [..., in_features]: some rows of a `Packed`. Has no `weight`, but may save one."""

    def __init__(self, packed: Packed, first: int, in_features: int, out_features: int) -> None:
        super().__init__()
        self.packed, self.first = packed, first
        self.in_features, self.out_features = in_features, out_features

    @property
    def kernel_name(self) -> str:
        """What multiplies, in the user's words."""
        return self.packed.kernel

    @property
    def packed_biases(self) -> int:
        """How many biases lie with the weights, and are no parameters."""
        return 0 if self.packed.bias is None else self.out_features

    def held_tensors(self) -> tuple[Tensor, ...]:
        """All of the matrix that this is a part of."""
        return self.packed.tensors

    def forward(self, x: Tensor) -> Tensor:
        """[..., in_features] → [..., out_features]."""
        return self.packed.product_for_one(x).narrow(-1, self.first, self.out_features)

    def _save_to_state_dict(self, destination: dict[str, Tensor], prefix: str, keep_vars: bool) -> None:
        for name, value in self.packed.plain(self.first, self.out_features).items():
            destination[prefix + name] = value


def side_by_side(*layers: nn.Module) -> Callable[[Tensor], Tensor]:
    """One function for layers with the same input: their outputs [..., sum of out_features]."""
    first = layers[0]
    if isinstance(first, PackedLinear) and len(first.packed.widths) == len(layers):
        return first.packed.product
    forwards = [layer.forward for layer in layers]
    if len(forwards) == 1:
        return forwards[0]
    return lambda x: torch.cat([forward(x) for forward in forwards], dim=-1)
