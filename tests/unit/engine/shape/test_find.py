"""Model shapes from headers: of files written here, of named shapes, and of what is no model."""

import json
import struct
from pathlib import Path

import pytest

from engine.config import profiles
from engine.config.sources import BUILT_IN, shapes
from engine.errors import ShapeError
from engine.plan import weights as holding
from engine.shape import architecture, find, roles
from engine.shape.model_shape import Tensor

TINY = {
    "model_type": "llama",
    "hidden_size": 64,
    "intermediate_size": 128,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "vocab_size": 100,
    "max_position_embeddings": 512,
    "dtype": "bfloat16",
}


def write_safetensors(file: Path, shapes: dict[str, tuple[int, ...]]) -> None:
    """bf16 tensors of zeros; only the header is looked at."""
    header, offset = {}, 0
    for name, shape in shapes.items():
        size = 2 * Tensor(name, shape, 0).elements
        header[name] = {"dtype": "BF16", "shape": shape, "data_offsets": [offset, offset + size]}
        offset += size
    text = json.dumps({"__metadata__": {"format": "pt"}, **header}).encode()
    file.write_bytes(struct.pack("<Q", len(text)) + text + bytes(offset))


def test_a_sharded_folder_is_read_by_its_headers(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text(json.dumps(TINY))
    parts = {
        "model-1.safetensors": {"model.embed_tokens.weight": (100, 64)},
        "model-2.safetensors": {"lm_head.weight": (100, 64)},
    }
    for name, tensors in parts.items():
        write_safetensors(tmp_path / name, tensors)
    write_safetensors(tmp_path / "consolidated.safetensors", {"the.same.again": (9, 9)})
    index = {tensor: name for name, tensors in parts.items() for tensor in tensors}
    (tmp_path / "model.safetensors.index.json").write_text(json.dumps({"weight_map": index}))
    found = find.of(profiles.find(str(tmp_path)))
    assert [tensor.name for tensor in found.tensors] == ["model.embed_tokens.weight", "lm_head.weight"]
    assert found.dtype == "bfloat16" and found.parameters == 2 * 6400
    assert found.file_bytes == sum((tmp_path / name).stat().st_size for name in parts)


def test_a_config_alone_is_enough_for_a_known_family(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text(json.dumps(TINY))
    found = find.of(profiles.find(str(tmp_path)))
    layer = 2 * 64 * 64 + 2 * 32 * 64 + 3 * 64 * 128 + 2 * 64
    assert found.parameters == 2 * layer + 2 * 6400 + 64


@pytest.mark.parametrize(
    ("config", "said"),
    [
        ({"model_type": "mamba", "hidden_size": 8, "vocab_size": 8}, "no num_attention_heads"),
        (TINY | {"model_type": "deepseek_v3"}, "not known from its config alone"),
        (TINY | {"quantization_config": {"quant_method": "gptq"}}, "known only from its weight files"),
    ],
)
def test_what_a_config_does_not_say_is_said(config: dict[str, object], said: str, tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text(json.dumps(config))
    with pytest.raises(ShapeError, match=said):
        find.of(profiles.find(str(tmp_path)))


def test_a_broken_header_is_no_model(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text(json.dumps(TINY))
    (tmp_path / "model.safetensors").write_bytes(b"\xff" * 64)
    with pytest.raises(ShapeError, match="not a safetensors file"):
        find.of(profiles.find(str(tmp_path)))


def test_a_hub_model_that_is_not_here_is_not_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ShapeError, match="switched off"):
        find.of(profiles.find("org/not-here"))
    with pytest.raises(ShapeError, match="not here"):
        find.of(profiles.find("org/not-here"), ask_hub=False)


def test_windows_follow_transformers_rules() -> None:
    assert architecture.windows({"sliding_window": 4096}, 2) == (4096, 4096)
    assert architecture.windows({"sliding_window": 4096, "use_sliding_window": False}, 2) == (0, 0)
    mixed = {
        "sliding_window": 512,
        "layer_types": ["sliding_attention", "full_attention", "linear_attention"],
    }
    assert architecture.windows(mixed, 3) == (512, 0)


@pytest.mark.parametrize("shape", shapes())
def test_every_named_shape_is_known(shape: str) -> None:
    found = find.of(profiles.find(f"random:{shape}"))
    assert {roles.role(tensor) for tensor in roles.used(found)} >= {"linear", "embedding", "other"}


def test_roles_by_name() -> None:
    named = {
        "model.layers.3.mlp.up_proj.weight": "linear",
        "blk.3.ffn_up.weight": "linear",
        "lm_head.weight": "head",
        "output.weight": "head",
        "token_embd.weight": "embedding",
        "transformer.wpe.weight": "embedding",
    }
    assert {name: roles.role(Tensor(name, (2, 2), 8)) for name in named} == named
    assert roles.role(Tensor("model.norm.weight", (2,), 4)) == "other"


@pytest.mark.parametrize(("repo", "shape"), BUILT_IN.items())
def test_a_repository_that_gives_nothing_is_planned_from_the_shape_that_is_built_in(
    repo: str, shape: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path))
    wanted = profiles.of_model(repo)
    found = find.of(wanted, ask_hub=False)
    assert found.tensors == find.of(profiles.find(f"random:{shape}")).tensors
    assert found.origin == f"the shape {shape}: {repo} cannot be planned: its headers are not here"
    with pytest.raises(ShapeError):
        find.of(profiles.changed(wanted, {"model.revision": "another"}), ask_hub=False)


def test_of_a_mixture_a_token_uses_a_part() -> None:
    used = {"qwen3-30b-a3b": (30.5, 3.3), "gpt-oss-20b": (20.9, 4.2), "qwen3-8b": (8.2, 8.2)}
    for name, (all_of_them, active) in used.items():
        shape = find.of(profiles.find(f"random:{name}"))
        found = holding.parameters(shape) / 1e9, holding.active_parameters(shape) / 1e9
        assert found == pytest.approx((all_of_them, active), abs=0.06)
