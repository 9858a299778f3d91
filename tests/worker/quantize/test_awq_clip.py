"""AWQ's clipping search gives what GPTQModel's own gives."""

from types import SimpleNamespace

import pytest
import torch

from engine.worker.methods import gptqmodel_api
from engine.worker.quantize import awq_clip

pytest.importorskip("gptqmodel")


@pytest.mark.parametrize(("size", "tokens", "sym"), [(32, 600, False), (-1, 40, True)])
def test_the_bounds_are_those_of_gptqmodel(size: int, tokens: int, sym: bool) -> None:
    gptqmodel_api.package()
    from gptqmodel.looper.awq_processor import AWQProcessor

    processor = SimpleNamespace(qcfg=SimpleNamespace(group_size=size, sym=sym, bits=4))
    processor._pseudo_quantize_tensor_into = lambda source, target: AWQProcessor._pseudo_quantize_tensor_into(
        processor, source, target
    )
    random = torch.Generator().manual_seed(0)
    weight = torch.randn(128, 64, generator=random)
    inputs = torch.randn(1, tokens, 64, generator=random) * torch.rand(64, generator=random) * 4
    expected = AWQProcessor._compute_best_clip(processor, weight, inputs)
    assert (
        expected.abs() < weight.view(*expected.shape[:2], -1).abs().amax(-1, keepdim=True)
    ).float().mean() > 0.5
    assert torch.equal(awq_clip.best_bounds(processor, weight, inputs), expected)
