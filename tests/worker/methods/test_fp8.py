"""FP8: values against compressed-tensors' own, folders that both read, a GPU's arithmetic on a CPU."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from msgspec.structs import replace
from safetensors.torch import load_file
from torch import Tensor
from transformers import AutoModelForCausalLM

from engine.checkpoints import store
from engine.config.methods import Fp8
from engine.config.profile import Profile
from engine.config.profiles import of_model
from engine.machine import hardware
from engine.plan.planning import plan
from engine.protocol.loading import Staged
from engine.shape import find
from engine.worker.load import LoadedModel, load
from engine.worker.methods import fp8
from engine.worker.methods.fp8 import Fp8Linear
from engine.worker.quantize import ensure
from tests.worker.mixture import write_mixture

CHANNEL = {"num_bits": 8, "type": "float", "symmetric": True, "strategy": "channel"}
TOKEN = {"num_bits": 8, "type": "float", "symmetric": True, "strategy": "token", "dynamic": True}
STATIC = TOKEN | {"strategy": "tensor", "dynamic": False}
UP = "model.layers.0.mlp.up_proj"


@pytest.fixture(autouse=True, scope="module")
def own_home(tmp_path_factory: pytest.TempPathFactory, lend_compiled: Callable[[Path], None]) -> Path:
    home = tmp_path_factory.mktemp("home")
    lend_compiled(home)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("QUANTDUEL_HOME", str(home))
        yield home


def ignore(_: Staged) -> None:
    """Progress that nobody reads."""


def loaded(profile: Profile, *, native: bool = False) -> LoadedModel:
    return load(profile, 1, ignore, native_step=native)


def made_profile() -> Profile:
    return replace(of_model("random:tiny"), name="tiny-fp8", quantization=Fp8())


@pytest.fixture(scope="module")
def source(own_home: Path) -> LoadedModel:
    return loaded(of_model("random:tiny"))


def held(side: LoadedModel, name: str = UP) -> Fp8Linear:
    found = side.model.get_submodule(name)
    assert isinstance(found, Fp8Linear)
    return found


def test_weights_are_rounded_to_the_nearest_by_their_rows() -> None:
    weight = torch.randn(48, 64, generator=torch.Generator().manual_seed(0)) * torch.rand(48, 1)
    weight[5] = 0
    values, scale = fp8.rounded(weight)
    assert values.dtype == torch.float8_e4m3fn and scale.shape == (48,)
    back = values.float() * scale[:, None]
    largest = weight.abs().amax(-1, keepdim=True)
    assert torch.equal(back[5], weight[5])
    step = torch.maximum(weight.abs() / 16, largest / 448 / 1024)  # three bits after the point; subnormals
    assert bool(((back - weight).abs() <= 1.01 * step + 1e-12).all())


def test_a_model_is_rounded_while_it_is_read(source: LoadedModel) -> None:
    side = loaded(made_profile())
    assert side.info.label == "fp8-w8a16" and side.info.kernel == "Fp8Linear, dequantized"
    assert side.info.parameters == source.info.parameters
    layer, plain = held(side), source.model.get_submodule(UP)
    values, scale = fp8.rounded(plain.weight)
    assert torch.equal(layer.weight.float(), values.float())
    assert torch.equal(layer.weight_scale.flatten(), scale)
    assert type(side.model.lm_head) is torch.nn.Linear
    tokens = torch.arange(20)[None]
    with torch.inference_mode():
        ours, theirs = side.model(tokens).logits.float(), source.model(tokens).logits.float()
    assert 0.99 < torch.cosine_similarity(ours, theirs, dim=-1).min() < 1


@pytest.mark.parametrize("native", [True, False])
def test_a_plan_and_a_load_agree(native: bool) -> None:
    profile = made_profile()
    planned, side = plan(profile, find.of(profile), hardware.detect()), loaded(profile, native=True)
    assert planned.weights_bytes == side.info.weights.total_bytes
    assert (planned.step, planned.parameters) == (side.info.step, side.info.parameters)


@pytest.fixture(scope="module")
def kept(source: LoadedModel) -> Path:
    return ensure.ensure(made_profile(), ignore).path


def test_a_kept_checkpoint_is_what_was_rounded_and_is_found(source: LoadedModel, kept: Path) -> None:
    record = store.record(kept)
    assert record and record.check and 0.9 < record.check.ratio < 1.1
    assert set(record.recipe.versions) == {"torch", "transformers"}
    side = loaded(made_profile())
    stored = load_file(kept / "model.safetensors")
    assert stored[f"{UP}.weight"].dtype == torch.float8_e4m3fn
    assert torch.equal(held(side).weight.float(), stored[f"{UP}.weight"].float())
    assert torch.equal(held(side).weight_scale, stored[f"{UP}.weight_scale"])
    assert side.info.label == "fp8-w8a16"
    assert not [note for note in side.info.notes if "does not use" in note]
    elsewhere = loaded(of_model(str(kept)))
    assert elsewhere.info.label == "fp8-w8a16" and elsewhere.info.weights == side.info.weights


def test_transformers_reads_what_was_written(kept: Path) -> None:
    pytest.importorskip("compressed_tensors")
    config = json.loads((kept / "config.json").read_text())["quantization_config"]
    from transformers import CompressedTensorsConfig

    theirs = AutoModelForCausalLM.from_pretrained(
        kept, quantization_config=CompressedTensorsConfig(**config, dequantize=True), dtype=torch.float32
    )
    side = loaded(of_model(str(kept)))
    expected = held(side).weight.float() * held(side).weight_scale
    torch.testing.assert_close(theirs.get_submodule(UP).weight.detach(), expected, rtol=1e-6, atol=1e-9)


@pytest.mark.parametrize(
    ("weights", "inputs", "note"),
    [
        (CHANNEL, TOKEN, ()),
        (CHANNEL | {"strategy": "tensor"}, STATIC, (fp8.STATIC,)),
        (CHANNEL, None, ()),
    ],
    ids=["dynamic", "tensor, static", "weights alone"],
)
def test_folders_of_llm_compressor_are_held_as_they_are(
    weights: dict[str, Any],
    inputs: dict[str, Any] | None,
    note: tuple[str, ...],
    source: LoadedModel,
    tmp_path: Path,
) -> None:
    compressed = pytest.importorskip("tests.worker.compressed")
    folder = compressed.write(source, tmp_path / "folder", weights, input_activations=inputs)
    profile = of_model(str(folder))
    side = loaded(profile)
    left = "not quantized, in bfloat16: model.layers.1.mlp.up_proj"  # which the folder's config ignores
    assert side.info.label == "fp8-w8a16" and side.info.notes == (left, *note)
    config = json.loads((folder / "config.json").read_text())["quantization_config"]
    expected = compressed.dequantized(folder, UP, config).float()
    found = (held(side).weight.float() * held(side).weight_scale).to(torch.bfloat16).float()
    torch.testing.assert_close(found, expected, rtol=1e-2, atol=1e-6)
    planned = plan(profile, find.of(profile), hardware.detect())
    assert planned.weights_bytes == side.info.weights.total_bytes


def test_blocks_of_weights_are_unpacked_as_before(source: LoadedModel) -> None:
    from engine.config import layouts

    block = CHANNEL | {"strategy": "block", "block_structure": [128, 128]}
    stored = {"quant_method": "compressed-tensors", "config_groups": {"a": {"weights": block}}}
    assert layouts.fp8(stored) is None


def test_the_step_of_a_gpu_multiplies_rounded_tokens(monkeypatch: pytest.MonkeyPatch) -> None:
    """scaled_mm by rows, in float32 here: a CPU has none of that kind."""
    monkeypatch.setattr(torch.nn.functional, "scaled_mm", by_rows)
    weight = torch.randn(32, 64, generator=torch.Generator().manual_seed(1), dtype=torch.bfloat16)
    bias = torch.arange(32, dtype=torch.bfloat16)
    layer = Fp8Linear(*fp8.rounded(weight), bias, computes=True)
    assert layer.kernel_name == "scaled_mm rowwise"
    x = torch.randn(2, 3, 64, generator=torch.Generator().manual_seed(2), dtype=torch.bfloat16)
    y = layer(x)
    assert y.shape == (2, 3, 32) and y.dtype == torch.bfloat16
    exact = x.float() @ weight.float().t() + bias.float()
    assert float((y.float() - exact).norm() / exact.norm()) < 0.05
    assert not Fp8Linear(*fp8.rounded(weight[:30]), None, computes=True).computes  # 30 rows: not whole tiles


def by_rows(a: Tensor, b: Tensor, scale_a: Tensor, *rest: Any, output_dtype: torch.dtype) -> Tensor:
    rowwise = torch.nn.functional.ScalingType.RowWise
    kind_a, scale_b, kind_b = rest
    assert (kind_a, kind_b) == (rowwise, rowwise) and a.dtype == b.dtype == torch.float8_e4m3fn
    assert scale_a.shape == (a.shape[0], 1) and scale_b.shape == (1, b.shape[1]) and not b.is_contiguous()
    return ((a.float() @ b.float()) * scale_a * scale_b).to(output_dtype)


def test_of_a_mixture_experts_and_router_stay_as_they_are(tmp_path: Path) -> None:
    profile = replace(of_model(str(write_mixture(tmp_path))), quantization=Fp8())
    side = loaded(profile)
    rounded = {name for name, module in side.model.named_modules() if isinstance(module, Fp8Linear)}
    layer = "model.layers.0"
    shared = {f"{layer}.mlp.shared_expert.{name}_proj" for name in ("gate", "up", "down")}
    assert rounded == shared | {f"{layer}.self_attn.{name}_proj" for name in "qkvo"}
    planned = plan(profile, find.of(profile), hardware.detect())
    assert planned.weights_bytes == side.info.weights.total_bytes
    assert planned.active_parameters < planned.parameters == side.info.parameters
