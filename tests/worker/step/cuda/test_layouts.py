"""Which layers are read as they are, and which are left to the model."""

import pytest
import torch
from torch import Tensor, nn

pytest.importorskip("triton")

from engine.worker.step.cuda import layouts


class Claiming(Tensor):
    """Another package's tensor: float32 by its own account."""


def test_a_plain_layer_is_read_in_place() -> None:
    layer = nn.Linear(8, 4)
    held = layouts.read(layer)
    assert held is not None and held.matrix.weights.data_ptr() == layer.weight.data_ptr()


def test_a_tensor_of_another_package_is_not_read() -> None:
    layer = nn.Linear(8, 4)
    layer.weight = nn.Parameter(torch.ones(4, 8).as_subclass(Claiming), requires_grad=False)
    assert type(layer.weight) is Claiming and layouts.read(layer) is None
