"""A profile becomes a model that tells the truth about itself, or one line that says why not."""

import gc
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors import SafetensorError
from safetensors.torch import save_file

from engine import paths
from engine.config.methods import BitsAndBytes, Full, Gguf, Method, Stored
from engine.config.profile import Model, Profile
from engine.config.sources import SHAPES
from engine.errors import LoadError, OutOfMemoryError
from engine.protocol.loading import Staged
from engine.worker import failures
from engine.worker.checkpoints.placement import place
from engine.worker.checkpoints.random_tokenizer import random_tokenizer
from engine.worker.load import LoadedModel, load
from engine.worker.step.cpu import compile
from tests.worker.hub_server import Repo, serving

FRANCE = "The capital of France is"


def loaded(source: str, method: Method, staged: list[Staged] | None = None, **model: Any) -> LoadedModel:
    profile = Profile(name="test", model=Model(source=source, **model), quantization=method)
    return load(profile, 1, (staged if staged is not None else []).append)


def next_token(side: LoadedModel, text: str) -> str:
    token_ids = side.tokenizer(text, return_tensors="pt").input_ids
    with torch.inference_mode():
        return str(side.tokenizer.decode(side.model(token_ids).logits[0, -1].argmax()))


@pytest.fixture(scope="module")
def tiny() -> LoadedModel:
    return loaded("random:tiny", Full())


@pytest.fixture(scope="module")
def demo_side() -> LoadedModel:
    return loaded("demo", Full())


@pytest.fixture(scope="module")
def demo_gguf() -> tuple[LoadedModel, list[Staged]]:
    staged: list[Staged] = []
    return loaded("demo", Gguf(), staged), staged


def test_the_model_says_what_it_is(tiny: LoadedModel) -> None:
    info = tiny.info
    assert (info.label, info.dtype, info.device) == ("bf16", "bfloat16", "cpu")
    packs = torch.ops.mkldnn._is_mkldnn_bf16_supported()
    otherwise = ("native", "OneDnnLinear" if packs else "Linear")
    assert (info.step, info.kernel) == (("compiled", "Linear") if compile.openmp() else otherwise)
    assert (info.architecture, info.parameters, info.context_length) == ("LlamaForCausalLM", 426_624, 2048)
    assert info.weights.total_bytes == pytest.approx(2 * info.parameters, rel=0.001)
    assert info.threads == torch.get_num_threads() == 1
    assert info.device_name
    assert not info.has_chat_template
    assert "random weights" in info.notes[0]
    assert {"python", "torch", "transformers"} <= set(info.versions)


@pytest.mark.parametrize(
    ("method", "dtype", "label"),
    [
        (Full(), "float16", "fp16"),
        (Full(), "float32", "fp32"),
        (BitsAndBytes(bits=8), "auto", "int8"),
        (BitsAndBytes(), "auto", "nf4"),
        (BitsAndBytes(quant_type="fp4", double_quant=True), "auto", "fp4+dq"),
        (Stored(), "auto", "bf16"),
    ],
)
def test_labels_are_of_the_loaded_model(method: Method, dtype: str, label: str) -> None:
    assert loaded("random:tiny", method, dtype=dtype).info.label == label


def test_attention_on_a_gpu_is_not_planned_anew_for_each_length(tiny: LoadedModel) -> None:
    assert tiny.info.device == "cpu" and not torch.backends.cuda.cudnn_sdp_enabled()


def test_quantizing_is_told_tensor_by_tensor() -> None:
    staged: list[Staged] = []
    loaded("random:tiny", BitsAndBytes(), staged)
    assert list(dict.fromkeys(event.stage for event in staged)) == ["resolve", "quantize", "warm up"]
    counts = [(event.done, event.total) for event in staged if event.stage == "quantize" and event.total]
    assert counts == sorted(counts)
    assert (counts[0], counts[-1]) == ((0, 21), (21, 21))
    assert {event.unit for event in staged if event.total} == {"tensors"}


@pytest.fixture(scope="module", params=[BitsAndBytes(bits=8), BitsAndBytes(double_quant=True)])
def quantized_folder(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> tuple[str, Path]:
    """The label and the folder of a checkpoint that bitsandbytes wrote, tokenizer included."""
    from engine.worker import methods
    from engine.worker.checkpoints.checkpoint import Checkpoint

    folder = tmp_path_factory.mktemp("stored")
    checkpoint = Checkpoint("random:tiny", SHAPES / "tiny.json", "random")
    model = methods.loader(request.param).load(
        request.param, checkpoint, place(Model(source="x"), torch.bfloat16)
    )
    model.save_pretrained(folder)
    checkpoint.tokenizer().save_pretrained(folder)
    return request.param.label(""), folder


def test_a_stored_folder_knows_its_label(quantized_folder: tuple[str, Path], tiny: LoadedModel) -> None:
    label, folder = quantized_folder
    side = loaded(str(folder), Stored())
    assert side.info.label == label
    assert side.info.parameters == tiny.info.parameters
    assert side.info.weights.total_bytes < tiny.info.weights.total_bytes
    assert side.info.tokenizer_sha256 == tiny.info.tokenizer_sha256


def test_the_demo_answers(demo_side: LoadedModel) -> None:
    assert next_token(demo_side, FRANCE) == " Paris"
    info = demo_side.info
    assert (info.label, info.parameters, info.context_length) == ("bf16", 134_515_008, 8192)
    assert info.weights.total_bytes / 2**20 == pytest.approx(256.6, abs=0.2)
    assert info.has_chat_template
    assert not info.notes  # what its precision was is said once, by doctor and in its profile


def test_the_demo_keeps_its_special_tokens(demo_side: LoadedModel) -> None:
    tokenizer, model = demo_side.tokenizer, demo_side.model
    assert (tokenizer.bos_token, tokenizer.eos_token) == ("<|im_start|>", "<|im_end|>")
    assert model.generation_config.eos_token_id == tokenizer.eos_token_id == 2
    assert tokenizer("hi").input_ids == [6004]  # no second BOS besides the template's
    messages = [{"role": "user", "content": "hi"}]
    text = tokenizer.apply_chat_template(messages, add_generation_prompt=True, tokenize=False)
    assert text.endswith("<|im_start|>user\nhi<|im_end|>\n<|im_start|>assistant\n")
    assert text.count("<|im_start|>system") == 1


def test_the_packaged_file_has_the_weights_of_the_converted_one(
    demo_side: LoadedModel, demo_gguf: tuple[LoadedModel, list[Staged]]
) -> None:
    ours, theirs = demo_side.model.state_dict(), demo_gguf[0].model.state_dict()
    assert ours.keys() == theirs.keys()
    assert all(torch.equal(ours[name], theirs[name]) for name in ours)
    assert demo_gguf[0].info.tokenizer_sha256 == demo_side.info.tokenizer_sha256


def test_gguf_says_that_it_is_dequantized(demo_gguf: tuple[LoadedModel, list[Staged]]) -> None:
    side, staged = demo_gguf
    assert side.info.label == "gguf"
    assert "memory as full precision" in side.info.notes[0]
    assert [event for event in staged if event.stage == "read" and 0 < event.done < event.total]


def test_gguf_reading_leaves_the_libraries_as_they_were(demo_gguf: tuple[LoadedModel, list[Staged]]) -> None:
    import gguf
    from transformers import modeling_gguf_pytorch_utils as reading

    assert isinstance(gguf.GGUFReader, type)
    assert not hasattr(gguf.get_tensor_name_map, "cache_info")
    assert reading.tqdm.__module__.startswith("tqdm")


@pytest.mark.parametrize("device", ["cuda", "cuda:1", "split"])
def test_no_gpu_is_said(device: str) -> None:
    with pytest.raises(LoadError, match="torch finds no GPU here") as caught:
        loaded("random:tiny", Full(), device=device)
    assert "device: auto" in caught.value.hint


@pytest.mark.parametrize("stored", [torch.bfloat16, torch.float16, torch.float32])
def test_auto_keeps_the_stored_dtype(stored: torch.dtype) -> None:
    assert place(Model(source="demo", device="cpu"), stored).dtype == stored


def test_a_folder_that_names_no_dtype_is_asked_for_its_tensors(tiny: LoadedModel, tmp_path: Path) -> None:
    tiny.model.save_pretrained(tmp_path)
    tiny.tokenizer.save_pretrained(tmp_path)
    config = json.loads((tmp_path / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps({k: v for k, v in config.items() if k != "dtype"}))
    assert loaded(str(tmp_path), Stored()).info.label == "bf16"


@pytest.fixture
def config_folder(tmp_path: Path) -> Iterator[Any]:
    """Writes a folder with this config, a tokenizer and one weight that nobody will miss."""

    def write(**changes: Any) -> str:
        config = json.loads((SHAPES / "tiny.json").read_text()) | changes
        (tmp_path / "config.json").write_text(json.dumps(config))
        save_file({"lm_head.weight": torch.zeros(512, 64)}, tmp_path / "model.safetensors")
        random_tokenizer(512, 2048).save_pretrained(tmp_path)
        return str(tmp_path)

    return write


@pytest.mark.parametrize(
    ("changes", "message", "hint"),
    [
        (
            {"model_type": "own", "auto_map": {"AutoConfig": "own.Own"}},
            "needs Python code",
            "trust_remote_code",
        ),
        ({"model_type": "vit"}, "is not a text-generating model: its type is vit", ""),
        ({"initializer_range": 1}, "'initializer_range': TypeError: .* expected float, got int", "log"),
        ({"model_type": "frobnicator"}, "could not be loaded: .*frobnicator", "log"),
        (
            {"quantization_config": {"quant_method": "aqlm"}},
            "is quantized with aqlm, and aqlm is not installed",
            "a server that runs it",
        ),
        ({}, "lacks .* of the .* tensors of a", "config.json describes another model"),
    ],
)
def test_what_cannot_be_loaded_is_one_line(config_folder: Any, changes: Any, message: str, hint: str) -> None:
    with pytest.raises(LoadError, match=message) as caught:
        loaded(config_folder(**changes), Stored())
    assert hint in caught.value.hint
    assert "\n" not in caught.value.message


def test_weights_that_are_no_safetensors_are_told_first(config_folder: Any, tmp_path: Path) -> None:
    folder = config_folder(model_type="frobnicator")
    (tmp_path / "model.safetensors").write_bytes(b"")
    with pytest.raises(LoadError, match=r"model\.safetensors is not a complete safetensors file") as caught:
        loaded(folder, Stored())
    assert "download it again" in caught.value.hint


def test_a_folder_without_tokenizer(tiny: LoadedModel, tmp_path: Path) -> None:
    tiny.model.save_pretrained(tmp_path)
    with pytest.raises(LoadError, match="has no readable tokenizer"):
        loaded(str(tmp_path), Stored())


def test_memory_that_is_not_there_is_its_own_error() -> None:
    profile = Profile(model=Model(source="random:llama-3.1-70b"), quantization=Full())
    with pytest.raises(RuntimeError) as caught:
        torch.empty(1 << 60)
    explained = failures.explained(caught.value, profile)
    assert isinstance(explained, OutOfMemoryError)
    assert "random:llama-3.1-70b does not fit in memory" in explained.message


def test_a_full_disk_is_said() -> None:
    profile = Profile(model=Model(source="demo"))
    with (
        pytest.raises(OSError, match="No space left") as caught,
        Path("/dev/full").open("wb", buffering=0) as disk,
    ):
        disk.write(b"x")
    assert failures.explained(caught.value, profile).message == "the disk is full"


@pytest.mark.parametrize("number", failures.UNWRITABLE)
def test_what_could_not_be_written_is_said(number: int, home: Path) -> None:
    profile = Profile(model=Model(source="demo"))
    of_file = failures.explained(OSError(number, os.strerror(number), "/some/file"), profile)
    assert of_file.message == f"{failures.UNWRITABLE[number]}: /some/file could not be written"
    of_safetensors = SafetensorError(f"I/O error: {os.strerror(number)} (os error {number})")
    assert f": a checkpoint below {paths.cache()}" in failures.explained(of_safetensors, profile).message


LOAD = """
import sys
from engine.config.methods import Stored
from engine.config.profile import Model, Profile
from engine.worker import environment
environment.set_environment()
from engine.worker.load import load
print(load(Profile(model=Model(source="org/tiny"), quantization=Stored()), 1, lambda staged: None).info.label)
"""


def test_torch_comes_up_where_nothing_can_be_kept(tmp_path: Path) -> None:
    """A full disk, a folder of somebody else: what would be compiled is not, and all else goes on."""
    (tmp_path / "cache").write_text("in the way")
    own = {"QUANTDUEL_HOME": str(tmp_path), "PATH": os.environ["PATH"]}
    code = "from engine.worker import environment; environment.set_environment(); import torch._dynamo"
    done = subprocess.run([sys.executable, "-c", code], env=own, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_a_hub_model_loads_quietly_and_asks_the_hub_for_its_files_only(
    tiny: LoadedModel, tmp_path: Path
) -> None:
    tiny.model.save_pretrained(tmp_path / "model")
    tiny.tokenizer.save_pretrained(tmp_path / "model")
    files = {file.name: file.read_bytes() for file in (tmp_path / "model").iterdir()}
    with serving({"org/tiny": Repo(files)}) as hub:
        own = {"HF_ENDPOINT": hub.url, "HF_HOME": str(tmp_path / "hf"), "HF_HUB_OFFLINE": "0"}
        done = subprocess.run(
            [sys.executable, "-c", LOAD], env=os.environ | own, capture_output=True, text=True, check=False
        )
    assert done.stdout.splitlines() == ["bf16"], done.stderr
    assert "Loading weights" not in done.stderr
    asked = {request.partition("?")[0].rpartition("/")[2] for request in hub.requests}
    assert asked <= set(files) | {"main", "0123456789abcdef0123456789abcdef01234567"}


def resident_bytes(file: str) -> int:
    """How much of the files of this name the process holds in memory."""
    entries = Path("/proc/self/smaps").read_text().split("VmFlags:")
    mapped = [entry for entry in entries if file in entry]
    return sum(int(entry.partition("Rss:")[2].split()[0]) << 10 for entry in mapped)


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_a_model_with_weights_of_its_own_lets_the_checkpoint_file_go(
    demo_folder: Path, tmp_path: Path
) -> None:
    copy = tmp_path / "copy"
    shutil.copytree(demo_folder, copy)
    full = loaded(str(copy), Full())
    held = resident_bytes(str(copy))  # none of it where the CPU's kernels have repacked the weights
    packed = full.info.kernel == "OneDnnLinear"
    assert held == 0 if packed else held > 0.9 * full.info.weights.total_bytes
    before = next_token(full, FRANCE)
    del full
    gc.collect()
    quantized = loaded(str(copy), BitsAndBytes(bits=8))
    assert resident_bytes(str(copy)) == 0
    assert next_token(quantized, FRANCE) == before == " Paris"
