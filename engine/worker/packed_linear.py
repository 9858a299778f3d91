"""Plain linear layers in the layout that the CPU's matrix kernels want: packed once, about twice as fast.

Owns the packing; the plain weights are given up. Products had the bits of the plain layer's wherever they
were compared. bf16 only: in float32 it was measured and gains little. Knows nothing of how models are run.
"""

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from engine.worker import lean

_multiply = torch.ops.mkldnn._linear_pointwise.default


def pack(model: PreTrainedModel) -> None:
    """Pack what can be packed, matrix by matrix; a table that the embedding reads too stays as it is."""
    if not (torch.backends.mkldnn.is_available() and lean.suits(model)):
        return
    tables = {id(module.weight) for module in model.modules() if isinstance(module, nn.Embedding)}
    for parent in list(model.modules()):
        for name, child in list(parent.named_children()):
            if type(child) is nn.Linear and id(child.weight) not in tables and _is_faster(child.weight):
                setattr(parent, name, PackedLinear(child))


class PackedLinear(nn.Module):
    """y = x Wᵀ + b for x [..., in_features]. Has no `weight`: its layout is oneDNN's own."""

    def __init__(self, linear: nn.Linear) -> None:
        super().__init__()
        self.in_features, self.out_features, self.bias = linear.in_features, linear.out_features, linear.bias
        self.packed = torch.ops.mkldnn._reorder_linear_weight(linear.weight.detach())

    def forward(self, x: Tensor) -> Tensor:
        """[..., in_features] → [..., out_features]."""
        product: Tensor = _multiply(x, self.packed, self.bias, "none", [], "")
        return product

    def _save_to_state_dict(self, destination: dict[str, Tensor], prefix: str, keep_vars: bool) -> None:
        """The plain weight, unpacked for whoever saves or compares."""
        super()._save_to_state_dict(destination, prefix, keep_vars)
        destination[f"{prefix}weight"] = self.packed.to_dense()


def _is_faster(weight: Tensor) -> bool:
    return weight.dtype == torch.bfloat16 and torch.ops.mkldnn._is_mkldnn_bf16_supported()
