"""Shapes and plans from headers against transformers' and gguf's own reading, and against loaded models."""

import json
from pathlib import Path

import gguf
import pytest
import torch
from transformers import AutoConfig, AutoModelForCausalLM, BitsAndBytesConfig, DynamicCache

from engine.config import profiles
from engine.config.methods import BitsAndBytes, Full, Gguf, LlamaCpp, Method
from engine.config.profile import Model, Profile
from engine.config.sources import SHAPES, shapes
from engine.machine import hardware
from engine.plan import running
from engine.plan import weights as holding
from engine.plan.target import Target
from engine.plan.terms import total
from engine.shape import find, gguf_header, roles
from engine.shape.model_shape import ModelShape
from engine.worker.checkpoints import random_model
from engine.worker.host import memory
from engine.worker.step.kv_cache import growing_cache

BF16 = torch.bfloat16


@pytest.mark.parametrize("name", shapes())
def test_tensors_of_a_config_are_those_of_the_model(name: str) -> None:
    config = AutoConfig.from_pretrained(SHAPES / f"{name}.json")
    expected = {
        tensor: tuple(made.shape)
        for tensor, made in random_model.tensors(config, torch.device("cpu")).items()
    }
    assert {
        tensor.name: tensor.shape for tensor in find.of(profiles.find(f"random:{name}")).tensors
    } == expected


def test_a_gguf_header_says_what_the_gguf_package_says(tmp_path: Path) -> None:
    file = tmp_path / "tiny.gguf"
    writer = gguf.GGUFWriter(file, "llama")
    writer.add_block_count(1)
    writer.add_embedding_length(32)
    writer.add_head_count(4)
    writer.add_head_count_kv(2)
    writer.add_context_length(64)
    writer.add_token_list(["a", "b", "c"])
    writer.add_array("some.numbers", [1, 2, 3])
    for name, shape in (("token_embd.weight", (3, 32)), ("blk.0.attn_q.weight", (32, 32))):
        writer.add_tensor(name, torch.zeros(shape).numpy())
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    expected = {
        tensor.name: (tuple(map(int, reversed(tensor.shape))), tensor.n_bytes)
        for tensor in gguf.GGUFReader(file).tensors
    }
    found = gguf_header.read(file).tensors
    assert {tensor.name: (tensor.shape, tensor.stored_bytes) for tensor in found} == expected
    shape = find.of_gguf(file)
    assert shape.architecture.kv_heads == 2 and shape.architecture.vocabulary == 3 and shape.architecture.tied
    for method in (Gguf(), LlamaCpp()):
        held = Profile(model=Model(source=str(file)), quantization=method)
        assert find.of(held) == shape


@pytest.mark.parametrize("kind", ["gemma2", "gemma3", "llama", "phi3"])
def test_windows_out_of_a_gguf_file_are_those_that_transformers_makes_of_it(
    kind: str, tmp_path: Path
) -> None:
    file = tmp_path / "tiny.gguf"
    writer = gguf.GGUFWriter(file, kind)
    writer.add_block_count(8)
    writer.add_embedding_length(32)
    writer.add_feed_forward_length(64)
    writer.add_head_count(4)
    writer.add_head_count_kv(2)
    writer.add_key_length(8)
    writer.add_context_length(64)
    writer.add_sliding_window(16)
    writer.add_token_list(["a", "b", "c"])
    writer.add_tensor("token_embd.weight", torch.zeros(3, 32).numpy())
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    layers = growing_cache(AutoConfig.from_pretrained(tmp_path, gguf_file=file.name)).layers
    expected = tuple(getattr(layer, "sliding_window", 0) for layer in layers)
    assert find.of_gguf(file).architecture.windows == expected
    assert any(expected) == kind.startswith("gemma")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tiny shape as a checkpoint."""
    place = tmp_path_factory.mktemp("tiny")
    model = AutoModelForCausalLM.from_config(AutoConfig.from_pretrained(SHAPES / "tiny.json"), dtype=BF16)
    model.save_pretrained(place)
    return place


def target() -> Target:
    return Target("cpu", "bfloat16", hardware.detect().host.flags)


def shape_of(folder: Path) -> ModelShape:
    return find.of_folder(folder, "tiny")


@pytest.mark.parametrize(
    ("method", "options"),
    [
        (Full(), None),
        (BitsAndBytes(bits=8), BitsAndBytesConfig(load_in_8bit=True)),
        (BitsAndBytes(), BitsAndBytesConfig(load_in_4bit=True, bnb_4bit_quant_type="nf4")),
        (
            BitsAndBytes(double_quant=True),
            BitsAndBytesConfig(load_in_4bit=True, bnb_4bit_quant_type="nf4", bnb_4bit_use_double_quant=True),
        ),
    ],
)
def test_planned_weights_are_what_a_loaded_model_holds(
    method: Method, options: BitsAndBytesConfig | None, folder: Path
) -> None:
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=BF16, quantization_config=options)
    with torch.inference_mode():
        model(torch.zeros((1, 2), dtype=torch.long))
    planned = total(holding.terms(shape_of(folder), method, target()))
    assert planned == pytest.approx(memory.weights(model).total_bytes, rel=0.01)


def test_transformers_own_footprint_agrees(folder: Path) -> None:
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=BF16)
    assert memory.weights(model).total_bytes == model.get_memory_footprint()
    eight = AutoModelForCausalLM.from_pretrained(
        folder, dtype=BF16, quantization_config=BitsAndBytesConfig(load_in_8bit=True)
    )
    rows = sum(
        t.shape[0] for t in shape_of(folder).tensors if roles.role(t) == "linear" and len(t.shape) == 2
    )
    scales = 4 * rows  # which it leaves out
    assert memory.weights(eight).total_bytes == pytest.approx(
        eight.get_memory_footprint() + scales, rel=0.001
    )


@pytest.mark.parametrize("window", [None, 32])
@pytest.mark.parametrize("tokens", [24, 100])
def test_the_planned_cache_is_the_real_one(window: int | None, tokens: int, tmp_path: Path) -> None:
    tiny = json.loads((SHAPES / "tiny.json").read_text())
    config = tiny | {
        "model_type": "mistral",
        "architectures": ["MistralForCausalLM"],
        "sliding_window": window,
    }
    (tmp_path / "config.json").write_text(json.dumps(config))
    model = AutoModelForCausalLM.from_config(AutoConfig.from_pretrained(tmp_path), dtype=BF16)
    cache: DynamicCache = growing_cache(model.config)
    with torch.inference_mode():
        model(torch.zeros((2, tokens - 1), dtype=torch.long), past_key_values=cache)
        model(torch.zeros((2, 1), dtype=torch.long), past_key_values=cache)
    found = find.of_folder(tmp_path, "tiny").architecture
    assert total(running.kv_cache(found, tokens, 2, target())) == memory.cache_bytes(cache)


def test_the_sizes_of_blocks_are_those_of_gguf() -> None:
    sizes = {int(kind): (numbers, size) for kind, (numbers, size) in gguf.GGML_QUANT_SIZES.items()}
    assert {kind: sizes[kind] for kind in gguf_header._BLOCKS if kind in sizes} == {
        kind: block for kind, block in gguf_header._BLOCKS.items() if kind in sizes
    }
    assert len(gguf_header._BLOCKS.keys() & sizes) > 25
