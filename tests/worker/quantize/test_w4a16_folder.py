"""What GPTQModel made, stored as compressed-tensors: the same weights, by the reading of that package."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from msgspec.structs import replace

from engine.config.methods import Rtn
from engine.config.profile import Profile
from engine.config.profiles import of_model
from engine.protocol.loading import Staged
from engine.worker.load import load
from engine.worker.quantize import ensure

pytest.importorskip("gptqmodel")
compressed = pytest.importorskip("tests.worker.compressed")
NAMES = [f"model.layers.1.{name}_proj" for name in ("self_attn.k", "mlp.down")]
TOKENS = torch.arange(24)[None]


@pytest.fixture(autouse=True, scope="module")
def own_home(tmp_path_factory: pytest.TempPathFactory, lend_compiled: Callable[[Path], None]) -> Path:
    home = tmp_path_factory.mktemp("home")
    lend_compiled(home)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("QUANTDUEL_HOME", str(home))
        yield home


def ignore(_: Staged) -> None:
    """Progress that nobody reads."""


def tiny(method: Rtn) -> Profile:
    return replace(of_model("random:tiny"), name="tiny", quantization=method)


@pytest.mark.parametrize(
    ("method", "label"),
    [
        (Rtn(group_size=64), "w4a16-g64"),
        (Rtn(group_size=32, sym=False), "w4a16-g32"),
        (Rtn(group_size=-1, bits=8), "w8a16-row"),
    ],
)
def test_the_same_integers_in_another_folder(method: Rtn, label: str) -> None:
    as_gptq = load(tiny(method), 1, ignore, native_step=False)
    profile = tiny(replace(method, format="compressed-tensors"))
    ours = load(profile, 1, ignore, native_step=False)
    assert ours.info.label == f"rtn-{label}" and ours.info.kernel == as_gptq.info.kernel
    assert ours.info.weights == as_gptq.info.weights
    with torch.inference_mode():
        assert torch.equal(ours.model(TOKENS).logits, as_gptq.model(TOKENS).logits)
    folder = ensure.ensure(profile, ignore).path
    config = json.loads((folder / "config.json").read_text())["quantization_config"]
    for name in NAMES:
        layer = ours.model.get_submodule(name)
        theirs = compressed.dequantized(folder, name, config).float()
        found = layer(torch.eye(layer.in_features, dtype=torch.bfloat16)).t().float()
        torch.testing.assert_close(found, theirs, rtol=2e-2, atol=2e-3)
    assert load(of_model(str(folder)), 1, ignore).info.label == f"rtn-{label}"
