"""Every format that transformers knows is read, or refused in a line that says what would run it."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from msgspec.structs import replace
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM, GptOssConfig, GptOssForCausalLM, TorchAoConfig

from engine.config import formats
from engine.config.methods import Awq, Rtn
from engine.config.profiles import of_model
from engine.config.texts import Calibration
from engine.errors import LoadError
from engine.protocol.loading import Staged
from engine.worker.load import LoadedModel, load

DOCS = Path(__file__).parents[3] / "docs" / "methods.md"
FEW = Calibration(samples=4, length=64)
UP = "model.layers.0.mlp.up_proj"


def ignore(_: Staged) -> None:
    """Progress that nobody reads."""


def known() -> set[str]:
    """transformers' own, as a process sees them in which no other package has added to them."""
    asked = "from transformers.quantizers.auto import AUTO_QUANTIZATION_CONFIG_MAPPING as m; print(*m)"
    own = subprocess.run([sys.executable, "-c", asked], capture_output=True, text=True, check=True).stdout
    return {name.removesuffix("_4bit").removesuffix("_8bit") for name in own.split()} | set(formats.REFUSED)


@pytest.fixture(scope="module")
def tiny() -> LoadedModel:
    return load(of_model("random:tiny"), 1, ignore, native_step=False)


@pytest.fixture
def folder(tiny: LoadedModel, tmp_path: Path) -> Path:
    tiny.model.save_pretrained(tmp_path)
    tiny.tokenizer.save_pretrained(tmp_path)
    return tmp_path


def write(folder: Path, stored: dict[str, Any]) -> None:
    file = folder / "config.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | {"quantization_config": stored}))


def test_the_table_has_every_format_and_so_has_the_page() -> None:
    table = formats.READ | set(formats.DEQUANTIZED) | set(formats.PACKAGES) | set(formats.REFUSED)
    assert table == known()
    assert [name for name in sorted(table) if f"`{name}`" not in DOCS.read_text()] == []


@pytest.mark.parametrize("how", sorted({*formats.PACKAGES, *formats.REFUSED} - {"torchao"}))
def test_what_is_not_read_is_refused_in_a_line(how: str, folder: Path) -> None:
    write(folder, {"quant_method": how})
    with pytest.raises(LoadError, match=f"is quantized with {how}") as caught:
        load(of_model(str(folder)), 1, ignore)
    assert "\n" not in caught.value.message and "http://" in caught.value.hint


def test_a_folder_of_modelopt_is_refused_by_its_own_file(folder: Path) -> None:
    (folder / "hf_quant_config.json").write_text("{}")
    with pytest.raises(LoadError, match="ModelOpt's folders are made for") as caught:
        load(of_model(str(folder)), 1, ignore)
    assert caught.value.hint == formats.SERVED


def test_blocks_of_fp8_are_dequantized_and_say_so(tiny: LoadedModel, folder: Path) -> None:
    tensors = load_file(folder / "model.safetensors")
    for name in [name for name in tensors if name.endswith("_proj.weight")]:
        rows, columns = (-(-size // 128) for size in tensors[name].shape)
        scale = float(tensors[name].abs().max()) / 448
        tensors[f"{name}_scale_inv"] = torch.full((rows, columns), scale)
        tensors[name] = (tensors[name].float() / scale).to(torch.float8_e4m3fn)
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
    write(folder, {"quant_method": "fp8", "weight_block_size": [128, 128], "activation_scheme": "dynamic"})
    side = load(of_model(str(folder)), 1, ignore, native_step=False)
    assert formats.note("fp8") in side.info.notes
    expected = tensors[f"{UP}.weight"].float() * tensors[f"{UP}.weight_scale_inv"][0, 0]
    found = side.model.get_submodule(UP).weight.float()
    torch.testing.assert_close(found, expected, rtol=1e-2, atol=1e-6)


def test_gemma_s_own_integers_are_read_by_transformers_and_counted(tiny: LoadedModel, folder: Path) -> None:
    """Two 4-bit integers a byte, a scale a row; scales of 0 leave activations as they are."""
    tensors, halves = load_file(folder / "model.safetensors"), {}
    for name in [name for name in tensors if name.endswith("_proj.weight")]:
        scale = tensors[name].float().abs().amax(-1, keepdim=True) / 7
        halves[name] = (tensors[name].float() / scale).round()
        codes = (halves[name] + 8).to(torch.uint8)
        tensors[name], tensors[f"{name}_scale"] = codes[:, 0::2] | codes[:, 1::2] << 4, scale
        for side in ("input", "output"):
            tensors[name.replace("weight", f"{side}_activation_scale")] = torch.tensor(0.0)
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
    write(folder, {"quant_method": "gemma", "num_bits": 4, "modules_to_not_convert": ["lm_head"]})
    side = load(of_model(str(folder)), 1, ignore)
    assert (side.info.label, side.info.kernel) == ("gemma", "QuantizedLinear")
    assert side.info.parameters == tiny.info.parameters
    x = torch.eye(side.model.config.hidden_size)[:4]
    expected = (halves[f"{UP}.weight"] * tensors[f"{UP}.weight_scale"]).t()[:4]
    assert torch.equal(side.model.get_submodule(UP)(x), expected)


def test_bitnet_is_read_by_transformers(tiny: LoadedModel, folder: Path) -> None:
    """-1, 0 and 1, four a byte; transformers compiles what unpacks them, which takes long and is left out."""
    tensors, thirds = load_file(folder / "model.safetensors"), {}
    for name in [name for name in tensors if name.endswith("_proj.weight")]:
        scale = 1 / tensors[name].float().abs().mean()
        thirds[name] = (tensors[name].float() * scale).round().clamp(-1, 1)
        first, second, third, fourth = (thirds[name] + 1).to(torch.uint8).chunk(4)
        tensors[name] = first | second << 2 | third << 4 | fourth << 6
        tensors[f"{name}_scale"] = scale[None]
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
    stored = {"quant_method": "bitnet", "linear_class": "bitlinear", "quantization_mode": "offline"}
    write(folder, stored | {"modules_to_not_convert": ["lm_head"]})
    with torch.compiler.set_stance("force_eager"):
        side = load(of_model(str(folder)), 1, ignore)
        found = side.model.get_submodule(UP)(torch.eye(side.model.config.hidden_size)[:4])
    assert (side.info.label, side.info.kernel) == ("bitnet", "BitLinear")
    assert side.info.parameters == tiny.info.parameters
    expected = (thirds[f"{UP}.weight"] / tensors[f"{UP}.weight_scale"].float()).t()[:4]
    torch.testing.assert_close(found.float(), expected, rtol=1e-2, atol=1e-4)


def test_experts_in_mxfp4_are_dequantized_to_its_values_and_say_so(tiny: LoadedModel, folder: Path) -> None:
    """GPT-OSS as it is published: 4-bit floats (e2m1) in blocks of 32 with a power of two each."""
    sizes = {"hidden_size": 64, "intermediate_size": 64, "num_hidden_layers": 1, "head_dim": 32}
    heads = {"num_attention_heads": 2, "num_key_value_heads": 1}
    experts = {"num_local_experts": 2, "num_experts_per_tok": 1, "vocab_size": len(tiny.tokenizer)}
    GptOssForCausalLM(GptOssConfig(**sizes, **heads, **experts)).bfloat16().save_pretrained(folder)
    tensors = load_file(folder / "model.safetensors")
    for name in [name for name in tensors if name.endswith(("gate_up_proj", "down_proj"))]:
        count, columns, rows = tensors.pop(name).shape
        packed = torch.arange(count * rows * columns // 2).to(torch.uint8)  # every pair of values
        tensors[f"{name}_blocks"] = packed.reshape(count, rows, columns // 32, 16)
        tensors[f"{name}_scales"] = torch.full((count, rows, columns // 32), 127 - 5, dtype=torch.uint8)
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
    left = ["model.layers.*.self_attn", "model.layers.*.mlp.router", "model.embed_tokens", "lm_head"]
    write(folder, {"quant_method": "mxfp4", "modules_to_not_convert": left})
    side = load(of_model(str(folder)), 1, ignore, native_step=False)
    assert formats.note("mxfp4") in side.info.notes
    found = side.model.get_submodule("model.layers.0.mlp.experts").gate_up_proj.float() * 2**5
    assert set(found.abs().flatten().tolist()) == {0, 0.5, 1, 1.5, 2, 3, 4, 6}
    assert found[0, :4, 0].tolist() == [0, 0, 0.5, 0]  # the low half of a byte first: 0x00, 0x01


@pytest.mark.parametrize(
    ("method", "packing"),
    [(Rtn(group_size=64), "auto_gptq"), (Awq(group_size=64, calibration=FEW), "auto_awq")],
)
def test_autoround_is_read_through_the_words_of_gptq_and_awq(
    method: Rtn | Awq, packing: str, tmp_path: Path
) -> None:
    """A folder as AutoRound writes it: the words of another, and settings of its own."""
    pytest.importorskip("gptqmodel")
    from engine.worker.quantize import ensure

    profile = replace(of_model("random:tiny"), name="tiny", quantization=method)
    made = ensure.ensure(profile, ignore).path
    for file in made.iterdir():
        if file.name not in {"config.json", "quantize_config.json", "quantduel.json"}:
            (tmp_path / file.name).write_bytes(file.read_bytes())
    config = json.loads((made / "config.json").read_text())
    is_sym = packing == "auto_gptq"
    stored = {"quant_method": "auto-round", "bits": 4, "group_size": 64, "sym": is_sym, "data_type": "int"}
    stored["packing_format"] = f"auto_round:{packing}"
    (tmp_path / "config.json").write_text(json.dumps(config | {"quantization_config": stored}))
    side, ours = load(of_model(str(tmp_path)), 1, ignore), load(profile, 1, ignore)
    assert side.info.label == "autoround4-g64" and side.info.kernel == ours.info.kernel
    assert side.info.weights == ours.info.weights
    tokens = torch.arange(20)[None]
    with torch.inference_mode():
        assert torch.equal(side.model(tokens).logits, ours.model(tokens).logits)


def test_torchao_s_tensors_are_left_to_torchao_and_counted(folder: Path, tmp_path: Path) -> None:
    """They claim to be bf16 at the address 0: nothing of the engine's may read them."""
    quantization = pytest.importorskip("torchao.quantization")
    chosen = TorchAoConfig(quantization.Int8WeightOnlyConfig())
    model = AutoModelForCausalLM.from_pretrained(folder, quantization_config=chosen, dtype=torch.bfloat16)
    made = tmp_path / "made"
    model.save_pretrained(made)
    for name in ("tokenizer.json", "tokenizer_config.json"):
        (made / name).write_bytes((folder / name).read_bytes())
    side = load(of_model(str(made)), 1, ignore)
    assert side.info.label == "torchao" and side.info.step != "compiled"
    layer = side.model.get_submodule(UP)
    assert layer.in_features * layer.out_features * 13 < side.info.weights.linear_bytes
    tokens = torch.arange(20)[None]
    with torch.inference_mode():
        torch.testing.assert_close(side.model(tokens).logits, model(tokens).logits)
