"""What GPTQModel made, stored as compressed-tensors: the same weights, by the reading of that package."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from msgspec.structs import replace
from safetensors.torch import load_file
from transformers import conversion_mapping, modeling_utils
from transformers.models.qwen2_moe import modeling_qwen2_moe

from engine.config.methods import Rtn
from engine.config.profile import Profile
from engine.config.profiles import of_model
from engine.errors import LoadError
from engine.protocol.loading import Staged
from engine.worker.checkpoints.checkpoint import Checkpoint
from engine.worker.checkpoints.placement import on_host
from engine.worker.load import load
from engine.worker.methods import gptqmodel_api
from engine.worker.quantize import ensure, w4a16_folder
from tests.worker.mixture import write_mixture

pytest.importorskip("gptqmodel")
compressed = pytest.importorskip("tests.worker.compressed")
NAMES = [f"model.layers.1.{name}_proj" for name in ("self_attn.k", "mlp.down")]
MIXTURE = "model.layers.0.mlp."
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


@pytest.fixture
def own_mixtures(monkeypatch: pytest.MonkeyPatch) -> None:
    """transformers as it was, afterwards: GPTQModel replaces a mixture's classes and names for good."""
    for module in (conversion_mapping, modeling_utils):
        found = getattr(module, "get_checkpoint_conversion_mapping", None)
        monkeypatch.setattr(module, "get_checkpoint_conversion_mapping", found, raising=False)
    block = modeling_qwen2_moe.Qwen2MoeSparseMoeBlock
    monkeypatch.setattr(modeling_qwen2_moe, "Qwen2MoeSparseMoeBlock", block)


@pytest.mark.usefixtures("own_mixtures")
def test_a_mixture_is_rounded_but_its_experts_are_never_made_up(tmp_path: Path) -> None:
    folder = write_mixture(tmp_path / "source")
    source = of_model(str(folder))
    profile = replace(source, quantization=Rtn(group_size=32))
    side = load(profile, 1, ignore, native_step=False)
    weights = load_file(folder / "model.safetensors")
    for name in ("experts.1.down_proj", "shared_expert.gate_proj"):
        layer = side.model.get_submodule(f"{MIXTURE}{name}")
        expected = weights[f"{MIXTURE}{name}.weight"]
        found = layer(torch.eye(layer.in_features, dtype=torch.bfloat16)).t()
        assert (found - expected).norm() < 0.2 * expected.norm()
    with pytest.raises(LoadError, match="is a mixture of experts, which compressed-tensors' W4A16 is not"):
        load(replace(source, quantization=Rtn(group_size=32, format="compressed-tensors")), 1, ignore)
    shutil.copytree(ensure.ensure(profile, ignore).path, older := tmp_path / "older")
    w4a16_folder.rewrite(older)
    with pytest.raises(LoadError, match="lacks"):
        gptqmodel_api.load(
            profile.quantization, Checkpoint("older", older, "folder"), on_host(torch.bfloat16)
        )
