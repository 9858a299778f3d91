"""Plain linear layers in the layout that the CPU's matrix kernels want: packed once, about twice as fast.

Layers that read the same input are packed as one, which saves calls. Owns the packing; the plain weights are
given up. Products had the bits of the plain layers' wherever they were compared. bf16 only: in float32 it was
measured and gains little. Knows nothing of how models are run.
"""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

_multiply = torch.ops.mkldnn._linear_pointwise.default


def pack(model: PreTrainedModel) -> None:
    """Pack a Llama-like model matrix by matrix; a head that the embedding reads too stays as it is."""
    if not (torch.backends.mkldnn.is_available() and torch.ops.mkldnn._is_mkldnn_bf16_supported()):
        return
    for layer in model.model.layers:
        _replace(layer.self_attn, "q_proj", "k_proj", "v_proj")
        _replace(layer.self_attn, "o_proj")
        _replace(layer.mlp, "gate_proj", "up_proj")
        _replace(layer.mlp, "down_proj")
    if model.lm_head.weight is not model.get_input_embeddings().weight:
        _replace(model, "lm_head")


class Packed:
    """The weights of layers that read the same input, one below the other, as one opaque tensor."""

    def __init__(self, layers: Sequence[nn.Linear]) -> None:
        biases = [layer.bias.detach() for layer in layers if layer.bias is not None]
        rows = torch.cat([layer.weight.detach() for layer in layers])  # [sum of out_features, in_features]
        self.tensor: Tensor = torch.ops.mkldnn._reorder_linear_weight(rows)
        self.bias = torch.cat(biases) if biases else None
        self._layers = self._unread = len(layers)
        self._input: Tensor | None = None
        self._output: Tensor | None = None

    def product(self, x: Tensor) -> Tensor:
        """All layers' outputs, side by side, for x [..., in_features]."""
        product: Tensor = _multiply(x, self.tensor, self.bias, "none", [], "")
        return product

    def product_for_one(self, x: Tensor) -> Tensor:
        """The same, computed when the first layer asks and let go when the last one has."""
        if self._output is None or self._input is not x:
            self._input, self._output, self._unread = x, self.product(x), self._layers
        output, self._unread = self._output, self._unread - 1
        if not self._unread:
            self._input = self._output = None
        return output


class PackedLinear(nn.Module):
    """y = x Wᵀ + b for x [..., in_features]: some rows of a `Packed`. Has no `weight`, but saves one."""

    def __init__(self, packed: Packed, first: int, in_features: int, out_features: int) -> None:
        super().__init__()
        self.packed, self.first, self.in_features, self.out_features = (
            packed,
            first,
            in_features,
            out_features,
        )

    def forward(self, x: Tensor) -> Tensor:
        """[..., in_features] → [..., out_features]."""
        return self.packed.product_for_one(x).narrow(-1, self.first, self.out_features)

    def _save_to_state_dict(self, destination: dict[str, Tensor], prefix: str, keep_vars: bool) -> None:
        rows = self.packed.tensor.to_dense().narrow(0, self.first, self.out_features)
        destination[f"{prefix}weight"] = rows.clone()
        if self.packed.bias is not None:
            destination[f"{prefix}bias"] = self.packed.bias.narrow(0, self.first, self.out_features).clone()


def side_by_side(*layers: nn.Module) -> Callable[[Tensor], Tensor]:
    """One function for layers with the same input: their outputs [..., sum of out_features]."""
    first = layers[0]
    if isinstance(first, PackedLinear):
        return first.packed.product
    forwards = [layer.forward for layer in layers]
    return lambda x: torch.cat([forward(x) for forward in forwards], dim=-1)


def _replace(parent: nn.Module, *names: str) -> None:
    """Pack these layers of a module as one, where all of them are plain and bf16."""
    layers = [getattr(parent, name) for name in names]
    if not all(type(layer) is nn.Linear and layer.weight.dtype == torch.bfloat16 for layer in layers):
        return
    packed, first = Packed(layers), 0
    for name, layer in zip(names, layers, strict=True):
        setattr(parent, name, PackedLinear(packed, first, layer.in_features, layer.out_features))
        first += layer.out_features
