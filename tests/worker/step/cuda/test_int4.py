"""GPTQModel's layers as the engine's int4: the same products, whatever the packing."""

import pytest
import torch

pytest.importorskip("triton")

from engine.worker.methods import gptqmodel_api
from engine.worker.step.cuda import choice, launch
from engine.worker.step.cuda.int4 import MOST_SEQUENCES, Int4Linear, of_gptqmodel
from engine.worker.step.cuda.trial import Trial

ROWS, COLUMNS, GROUP = 32, 96, 32


def random_words(like: torch.Tensor) -> torch.Tensor:
    return torch.randint(-(2**31), 2**31, like.shape, dtype=torch.int64).to(torch.int32)


def layer_of(name: str, bits: int, group: int = GROUP) -> torch.nn.Module:
    """With random words in it: any are weights."""
    gptqmodel_api.package()
    from gptqmodel.nn_modules.qlinear.torch import TorchLinear
    from gptqmodel.nn_modules.qlinear.torch_awq import AwqTorchLinear

    torch.manual_seed(bits)
    kind = {"gptq": TorchLinear, "awq": AwqTorchLinear}[name]
    sizes = {"in_features": COLUMNS, "out_features": ROWS, "bits": bits, "group_size": group}
    layer = kind(**sizes, sym=False, desc_act=False, bias=True, register_buffers=True, dtype=torch.bfloat16)
    layer.qweight, layer.qzeros = random_words(layer.qweight), random_words(layer.qzeros)
    layer.scales = (torch.rand(layer.scales.shape) / 20).to(torch.bfloat16)
    layer.bias = torch.randn(ROWS).to(torch.bfloat16)
    layer.post_init()
    return layer.eval()


@torch.inference_mode()
def difference(layer: torch.nn.Module) -> float:
    """The largest between the library's product and ours, over the largest result."""
    made = of_gptqmodel(layer)
    assert made is not None and made.matrix.weights.shape == (ROWS, COLUMNS // 2)
    x = torch.randn(3, COLUMNS).to(torch.bfloat16)
    right = layer(x).float()
    return float((made(x).float() - right).abs().max() / right.abs().max())


@pytest.mark.parametrize("group", [GROUP, -1])
@pytest.mark.parametrize(("name", "bits"), [("gptq", 2), ("gptq", 3), ("gptq", 4), ("awq", 4)])
def test_the_products_are_the_librarys(name: str, bits: int, group: int) -> None:
    assert difference(layer_of(name, bits, group)) < 0.02


def test_inputs_in_another_order() -> None:
    layer = layer_of("gptq", 4)
    layer.g_idx = (torch.randperm(COLUMNS) // GROUP).int()
    made = of_gptqmodel(layer)
    assert made is not None and made.matrix.order is not None
    assert difference(layer) < 0.02


def test_eight_bits_stay_as_they_are() -> None:
    assert of_gptqmodel(layer_of("gptq", 8)) is None


@torch.inference_mode()
def test_a_layer_goes_only_after_its_kernel_agreed_which_then_serves_few_rows(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    parent, library = torch.nn.Module(), layer_of("gptq", 3)
    parent.own = library
    monkeypatch.setattr(launch, "linear", lambda x, held: 1.1 * library(x))
    assert not choice._taken(parent, "own", Trial(torch.bfloat16)) and parent.own is library
    monkeypatch.setattr(launch, "linear", lambda x, held: library(x))
    assert choice._taken(parent, "own", Trial(torch.bfloat16)) and isinstance(parent.own, Int4Linear)
    by_kernel = []
    monkeypatch.setattr(launch, "linear", lambda x, held: by_kernel.append(len(x)) or library(x))
    for rows in (1, MOST_SEQUENCES, MOST_SEQUENCES + 1):
        x = torch.randn(1, rows, COLUMNS).to(torch.bfloat16)
        right = library(x).float()
        assert float((parent.own(x).float() - right).abs().max() / right.abs().max()) < 0.02
    assert by_kernel == [1, MOST_SEQUENCES]
