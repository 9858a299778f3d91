"""compressed-tensors' packed integers on the kernels for GPTQ's: the same values, or unpacked as before."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from engine.config.profile import Profile
from engine.config.profiles import of_model
from engine.machine import hardware
from engine.plan.planning import plan
from engine.protocol.loading import Staged
from engine.shape import find
from engine.worker.checkpoints import foreign
from engine.worker.load import LoadedModel, load

pytest.importorskip("gptqmodel")
compressed = pytest.importorskip("tests.worker.compressed")

GROUP = {"num_bits": 4, "type": "int", "symmetric": True, "strategy": "group", "group_size": 64}
SCHEMES: dict[str, dict[str, Any]] = {
    "w4a16-g64": GROUP,
    "w4a16-g32": GROUP | {"group_size": 32, "symmetric": False},
    "w8a16-row": {"num_bits": 8, "type": "int", "symmetric": True, "strategy": "channel"},
}
PROJECTIONS = [f"model.layers.{layer}.mlp.{name}_proj" for layer in (0, 1) for name in ("gate", "down")]


def ignore(_: Staged) -> None:
    """Progress that nobody reads."""


@pytest.fixture(scope="module")
def source(home: Path) -> LoadedModel:
    profile: Profile = of_model("random:tiny")
    return load(profile, 1, ignore, native_step=False)


def config_of(folder: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((folder / "config.json").read_text())["quantization_config"]
    return found


@pytest.mark.parametrize("label", SCHEMES)
def test_packed_integers_are_read_as_they_are(label: str, source: LoadedModel, tmp_path: Path) -> None:
    folder = compressed.write(source, tmp_path / "folder", SCHEMES[label])
    side = load(of_model(str(folder)), 1, ignore, native_step=False)
    assert side.info.label == label
    said = [note for note in side.info.notes if "row's scale anew" not in note]  # on a CPU, of 8 bits
    assert said == ["not quantized, in bfloat16: model.layers.1.mlp.up_proj"]
    assert side.info.weights.linear_bytes < 0.8 * source.info.weights.linear_bytes
    assert side.info.parameters == source.info.parameters
    for name in PROJECTIONS:
        layer = side.model.get_submodule(name)
        expected = compressed.dequantized(folder, name, config_of(folder)).float()
        found = layer(torch.eye(layer.in_features, dtype=torch.bfloat16)).t().float()
        torch.testing.assert_close(found, expected, rtol=2e-2, atol=2e-3)
    left = side.model.get_submodule("model.layers.1.mlp.up_proj")
    assert type(left) is torch.nn.Linear
    assert torch.equal(left.weight, source.model.get_submodule("model.layers.1.mlp.up_proj").weight)


def test_columns_in_order_of_activity_keep_their_groups(source: LoadedModel, tmp_path: Path) -> None:
    """`weight_g_idx` of older llm-compressors: any column may be in any group."""
    folder = compressed.write(source, tmp_path / "folder", GROUP)
    tensors = load_file(folder / "model.safetensors")
    plain = compressed.dequantized(folder, PROJECTIONS[0], config_of(folder)).float()
    config = json.loads((folder / "config.json").read_text())
    config["quantization_config"]["config_groups"]["all"]["weights"]["actorder"] = "group"
    (folder / "config.json").write_text(json.dumps(config))
    for name in [name.removesuffix(".weight_packed") for name in tensors if name.endswith(".weight_packed")]:
        columns = tensors[f"{name}.weight_packed"].shape[1] * 8
        tensors[f"{name}.weight_g_idx"] = torch.arange(columns, dtype=torch.int32) % (columns // 64)
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
    layer = load(of_model(str(folder)), 1, ignore, native_step=False).model.get_submodule(PROJECTIONS[0])
    found = layer(torch.eye(layer.in_features, dtype=torch.bfloat16)).t().float()
    scales = tensors[f"{PROJECTIONS[0]}.weight_scale"].float()
    columns = torch.arange(layer.in_features)
    expected = plain / scales[:, columns // 64] * scales[:, columns % scales.shape[1]]
    torch.testing.assert_close(found, expected, rtol=2e-2, atol=2e-3)


def test_a_matrix_whose_parts_are_in_two_files(source: LoadedModel, tmp_path: Path) -> None:
    folder = compressed.write(source, tmp_path / "folder", GROUP)
    whole = load(of_model(str(folder)), 1, ignore, native_step=False)
    tensors = load_file(folder / "model.safetensors")
    (folder / "model.safetensors").unlink()
    files = {name: "a" if name.endswith("packed") else "b" for name in tensors}
    for part in ("a", "b"):
        content = {name: tensors[name] for name, file in files.items() if file == part}
        save_file(content, folder / f"{part}.safetensors", metadata={"format": "pt"})
    weight_map = {name: f"{file}.safetensors" for name, file in files.items()}
    (folder / "model.safetensors.index.json").write_text(
        json.dumps({"metadata": {}, "weight_map": weight_map})
    )
    parts = load(of_model(str(folder)), 1, ignore, native_step=False)
    tokens = torch.arange(12)[None]
    with torch.inference_mode():
        assert torch.equal(parts.model(tokens).logits, whole.model(tokens).logits)


def test_a_scheme_without_such_a_layout_is_unpacked_as_before(source: LoadedModel, tmp_path: Path) -> None:
    three = compressed.write(source, tmp_path / "three", GROUP | {"num_bits": 3})
    side = load(of_model(str(three)), 1, ignore, native_step=False)
    assert foreign.UNPACKED in side.info.notes and side.info.weights == source.info.weights


@pytest.mark.parametrize("label", SCHEMES)
def test_a_plan_and_a_load_agree(label: str, source: LoadedModel, tmp_path: Path) -> None:
    profile = of_model(str(compressed.write(source, tmp_path / "folder", SCHEMES[label])))
    planned = plan(profile, find.of(profile), hardware.detect())
    loaded = load(profile, 1, ignore).info
    assert planned.step == loaded.step
    assert planned.weights_bytes == pytest.approx(loaded.weights.total_bytes, rel=0.01)
    assert planned.parameters == loaded.parameters
