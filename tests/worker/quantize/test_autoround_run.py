"""AutoRound on a tiny model: made without a word to the model hub, run by the kernels of GPTQ's layout."""

import json
import socket
from collections.abc import Callable
from pathlib import Path
from typing import NoReturn

import pytest
import torch
from msgspec.structs import replace
from safetensors.torch import load_file
from torch import Tensor
from transformers import AutoModelForCausalLM

from engine.config.methods import AutoRound
from engine.config.profiles import of_model
from engine.config.texts import Calibration
from engine.protocol.loading import Staged
from engine.worker.load import LoadedModel, load
from engine.worker.quantize import ensure

pytest.importorskip("auto_round")
pytest.importorskip("gptqmodel")

UP = "model.layers.1.mlp.up_proj"
FEW = Calibration(samples=4, length=64)


@pytest.fixture(autouse=True)
def own_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, lend_compiled: Callable[[Path], None]) -> None:
    lend_compiled(tmp_path)
    monkeypatch.setenv("QUANTDUEL_HOME", str(tmp_path))


def require_near(held: LoadedModel, weight: Tensor) -> None:
    """Within half a step of 4 bits, as a mean: a zero point that is one off is a whole step away."""
    found = held.model.get_submodule(UP)(torch.eye(weight.shape[1], dtype=torch.bfloat16)).t().float()
    step = (weight.amax(1) - weight.amin(1)).mean() / 15
    assert 0 < (found - weight).abs().mean() < step / 2


@pytest.mark.parametrize("sym", [True, False])
def test_what_is_made_is_near_the_source_and_answers_alike_in_transformers(
    sym: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refused(*_: object) -> NoReturn:
        raise AssertionError("asked the network")

    monkeypatch.setattr(socket.socket, "connect", refused)
    method, stages = AutoRound(group_size=64, iters=1, sym=sym, calibration=FEW), list[Staged]()
    profile = replace(of_model("random:tiny"), name="tiny", quantization=method)
    made = ensure.ensure(profile, stages.append)
    layers = [stage.done for stage in stages if stage.step == "quantize layers"]
    assert sorted(layers) == layers and {0, 1, 2} == set(layers)
    assert made.record.calibration_tokens == 256 and made.record.check

    stored = json.loads((made.path / "config.json").read_text())
    said = stored["quantization_config"]
    assert (stored["dtype"], said["quant_method"], said["bits"], said["sym"]) == ("bfloat16", "gptq", 4, sym)
    assert load_file(made.path / "model.safetensors")["model.embed_tokens.weight"].dtype == torch.bfloat16

    side = load(profile, 1, lambda _: None, native_step=False)
    assert side.info.label == "autoround4-g64" and side.info.kernel == "TorchAtenLinear"
    plain = load(of_model("random:tiny"), 1, lambda _: None, native_step=False)
    require_near(side, plain.model.get_submodule(UP).weight.float())

    theirs = AutoModelForCausalLM.from_pretrained(made.path, dtype=torch.bfloat16, device_map={"": "cpu"})
    ids = torch.arange(40, 60)[None]
    greedy = {"attention_mask": torch.ones_like(ids), "max_new_tokens": 12, "do_sample": False}
    assert torch.equal(side.model.generate(ids, **greedy), theirs.generate(ids, **greedy))
