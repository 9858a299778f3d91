"""The engine's own kernels in whole models, where QUANTDUEL_STEP asks for them: against the native step."""

import pytest
import torch
from torch import Tensor

from engine.config.methods import BitsAndBytes, Full, Method
from engine.worker.load import LoadedModel
from engine.worker.step.cuda import choice
from engine.worker.step.kv_cache import growing_cache
from engine.worker.step.stepper import Stepper
from tests.gpu.on_device import DEVICE, PROMPT, cuda_only, loaded

pytestmark = [pytest.mark.gpu, cuda_only]
WRITTEN = (5, 80, 300, 17, 211, 4)
CASES: dict[str, tuple[Method, str, float]] = {  # how far from the native step, of the largest logit
    "float32": (Full(), "float32", 1e-4),
    "bfloat16": (Full(), "bfloat16", 0.02),
    "nf4": (BitsAndBytes(quant_type="nf4"), "bfloat16", 0.02),
    "nested": (BitsAndBytes(double_quant=True), "bfloat16", 0.02),
    "int8": (BitsAndBytes(bits=8), "bfloat16", 0.05),  # which rounds activations to 8 bits as well
}


@pytest.mark.parametrize("name", CASES)
def test_own_kernels_compute_what_the_native_step_does(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    method, dtype, most = CASES[name]
    monkeypatch.setenv("QUANTDUEL_STEP", "native")
    right = logits(loaded(method, dtype))
    monkeypatch.setenv("QUANTDUEL_STEP", "compiled")
    model = loaded(method, dtype)
    assert model.info.step == "compiled", choice.failures.get(model.model)
    off = float((logits(model) - right).abs().max() / right.abs().max())
    print(name, off)
    assert off < most


def logits(model: LoadedModel) -> Tensor:
    """[tokens, vocabulary], behind each of the same tokens."""
    stepper, found = Stepper(model.model, growing_cache(model.model.config, 256)), []
    stepper.prepare(torch.zeros((1, 1), dtype=torch.long, device=DEVICE))
    stepper.read(torch.tensor([PROMPT], device=DEVICE))
    for token in WRITTEN:
        stepper.read(torch.tensor([[token]], device=DEVICE))
        found.append(stepper.logits[0].clone())
    print(stepper.mode, *stepper.notes)
    return torch.stack(found)
