"""Packed weights on a GPU: kernels compute what is packed, and what is quantized here answers."""

from pathlib import Path

import pytest
import torch
from torch import Tensor
from transformers import AutoConfig, AutoModelForCausalLM

from benchmarks.gpu import packed
from benchmarks.gpu.packed import LayoutName
from engine.config.methods import Awq, Gptq, Method, Rtn, Stored
from engine.config.profile import Generation
from engine.config.texts import Calibration
from engine.worker.generate.prefix_cache import KeptCache
from engine.worker.load import LoadedModel
from engine.worker.quantize import ensure
from tests.gpu.on_device import HAS_GPU, loaded, profile, written

pytestmark = pytest.mark.gpu
pytest.importorskip("gptqmodel")

OFF = 0.03  # of the logits' norm: what bfloat16 rounds away in two layers is less than half of it
IDS = torch.randint(3, 500, (1, 40), generator=torch.Generator().manual_seed(5))
FEW = Calibration(samples=4, length=128)
METHODS: dict[str, Method] = {
    "rtn4": Rtn(bits=4, group_size=64),
    "gptq4": Gptq(bits=4, group_size=64, calibration=FEW),
    "awq4": Awq(group_size=64, calibration=FEW),
}
ON_GPU: dict[str, Method] = {  # each has kernels that do not take it
    "rtn3": Rtn(bits=3, group_size=64),
    "rtn8": Rtn(bits=8, group_size=64),
    "rtn4-asym": Rtn(bits=4, group_size=64, sym=False),
    "rtn4-g16": Rtn(bits=4, group_size=16),
    "gptq4-act": Gptq(bits=4, group_size=64, desc_act=True, calibration=FEW),
}


@pytest.mark.parametrize("group", [32, 64, 128])
@pytest.mark.parametrize("layout", ["gptq", "awq"])
def test_kernels_compute_what_is_packed(layout: LayoutName, group: int, tmp_path: Path) -> None:
    right = reference(packed.make("tiny", tmp_path, layout, group))
    model = loaded(Stored(), "bfloat16", str(tmp_path))
    require_the_engines_step(model)
    print(layout, group, model.info.kernel, model.info.dtype, *model.info.notes)
    for tokens in (40, 1):  # another kernel may multiply a single row
        assert off(model, right[:, :tokens], tokens) < OFF


def reference(weights: dict[str, Tensor]) -> Tensor:
    """transformers' logits in float32 on the CPU."""
    config = AutoConfig.from_pretrained(packed.SHAPES / "tiny.json")
    model = AutoModelForCausalLM.from_config(config, dtype=torch.float32).eval()
    model.load_state_dict(weights, strict=True)
    with torch.inference_mode():
        logits: Tensor = model(IDS).logits
    return logits


def off(model: LoadedModel, right: Tensor, tokens: int) -> float:
    """How far its logits are from the right ones, as a part of those."""
    with torch.inference_mode():
        found = model.model(IDS[:, :tokens].to(model.device)).logits.float().cpu()
    return float((found - right).norm() / right.norm())


def require_the_engines_step(model: LoadedModel) -> None:
    """No hook of accelerate's on a module, everybody's attention, and so a step without transformers."""
    assert not [name for name, module in model.model.named_modules() if hasattr(module, "_hf_hook")]
    assert model.model.config._attn_implementation == "sdpa"
    assert model.info.step != "forward"


@pytest.mark.parametrize(
    "name", [*METHODS, *(pytest.param(name, marks=() if HAS_GPU else pytest.mark.skip) for name in ON_GPU)]
)
def test_what_is_quantized_here_answers(name: str) -> None:
    wanted = profile({**METHODS, **ON_GPU}[name], "bfloat16")
    made = ensure.ensure(wanted, lambda staged: None, force=True)
    check = made.record.check
    assert check is not None and 0.8 < check.ratio < 1.25
    model = loaded(wanted.quantization, "bfloat16")
    ids, end = written(model, KeptCache(), Generation(max_new_tokens=12))
    print(name, model.info.kernel, model.info.dtype, end.mode, *model.info.notes, *end.notes)
    require_the_engines_step(model)
    assert len(ids) == 12
    assert end.mode == "graph" or (name in ON_GPU and end.notes)
