"""Headers that are broken, absurd or not to be read: each is one ShapeError, or a plan, and nothing else."""

import json
import os
import random
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from engine.config import profile
from engine.config.profile import Profile
from engine.errors import LoadError, ShapeError
from engine.machine import hardware
from engine.plan import advice
from engine.plan.local import planned
from engine.shape import gguf_header

CONFIG: dict[str, Any] = {
    "model_type": "mistral",
    "hidden_size": 64,
    "intermediate_size": 128,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "vocab_size": 100,
    "max_position_embeddings": 512,
    "sliding_window": 16,
    "rope_scaling": {"type": "linear", "factor": 2.0},
    "dtype": "bfloat16",
    "quantization_config": {},
}
ENTRY = {"dtype": "BF16", "shape": [4, 4], "data_offsets": [0, 32]}
MACHINE = hardware.detect()
DEEP = b"[" * 100_000


def folder(place: Path, config: object = None, header: object = None) -> Path:
    """A checkpoint folder of one file; `header` as bytes stands for the JSON itself."""
    place.mkdir(exist_ok=True)
    text = config if isinstance(config, bytes) else json.dumps(CONFIG if config is None else config).encode()
    (place / "config.json").write_bytes(text)
    head = header if isinstance(header, bytes) else json.dumps(header or {"a.weight": ENTRY}).encode()
    (place / "model.safetensors").write_bytes(struct.pack("<Q", len(head)) + head + bytes(32))
    return place


def outcome(source: Path) -> str:
    """The error's one line; empty where there is a plan."""
    wanted = Profile(name="it", model=profile.Model(source=str(source)))
    try:
        planned(wanted, None, MACHINE, ask_hub=False)
    except ShapeError as error:
        assert "\n" not in error.message
        return error.message
    return ""


CONFIGS: dict[str, object] = {
    "a list": [],
    "a number": 7,
    "nothing": b"",
    "deep": DEEP,
    "a kind that is a list": CONFIG | {"model_type": []},
    "no heads": CONFIG | {"num_attention_heads": 0},
    "text for heads": CONFIG | {"num_attention_heads": "4"},
    "true for heads": CONFIG | {"num_attention_heads": True},
    "huge layers": CONFIG | {"num_hidden_layers": 10**12},
    "a number of 5000 digits": b'{"num_hidden_layers": 1' + b"0" * 5000 + b"}",
    "huge hidden": CONFIG | {"hidden_size": 2**40},
    "a window that is a list": CONFIG | {"sliding_window": [16]},
    "layer types that are objects": CONFIG | {"layer_types": [{}, {}]},
    "layer types that are a number": CONFIG | {"layer_types": 2},
    "no key heads": CONFIG | {"num_key_value_heads": 0},
    "bits as text": CONFIG | {"quantization_config": {"quant_method": "gptq", "bits": "four"}},
    "no bits": CONFIG | {"quantization_config": {"quant_method": "gptq", "bits": 0}},
    "half a bit": CONFIG | {"quantization_config": {"quant_method": "gptq", "bits": 0.5}},
    "layers that turn text": CONFIG
    | {"model_type": "qwen2", "use_sliding_window": True, "max_window_layers": "two"},
}


@pytest.mark.parametrize("name", CONFIGS)
def test_a_config_that_cannot_be(name: str, tmp_path: Path) -> None:
    place = folder(tmp_path / "model", CONFIGS[name])
    assert str(place) in outcome(place)


def test_what_is_odd_and_no_fault_is_planned(tmp_path: Path) -> None:
    odd = CONFIG | {
        "max_window_layers": None,
        "rope_scaling": "none",
        "text_config": 3,
        "dtype": {},
    }
    assert outcome(folder(tmp_path / "model", odd)) == ""


HEADERS: dict[str, object] = {
    "a list": b"[]",
    "deep": DEEP,
    "no offsets": {"a": {"dtype": "F32", "shape": [1]}},
    "offsets as text": {"a": ENTRY | {"data_offsets": "ab"}},
    "three offsets": {"a": ENTRY | {"data_offsets": [0, 32, 64]}},
    "backwards": {"a": ENTRY | {"data_offsets": [32, 0]}},
    "past the end": {"a": ENTRY | {"data_offsets": [0, 64]}},
    "a shape that is text": {"a": ENTRY | {"shape": "44"}},
    "a shape too large": {"a": ENTRY | {"shape": [2**30, 2**30]}},
    "a negative shape": {"a": ENTRY | {"shape": [-4, -4]}},
    "too many dimensions": {"a": ENTRY | {"shape": [1] * 9}},
    "a tensor that is a number": {"a": 3},
}


@pytest.mark.parametrize("name", HEADERS)
def test_a_safetensors_header_that_cannot_be(name: str, tmp_path: Path) -> None:
    place = folder(tmp_path / "model", header=HEADERS[name])
    assert str(place / "model.safetensors") in outcome(place)


def test_packed_words_of_one_dimension_make_no_plan(tmp_path: Path) -> None:
    packed = CONFIG | {"quantization_config": {"quant_method": "gptq", "bits": 4, "group_size": 32}}
    entry = {"dtype": "I32", "shape": [8], "data_offsets": [0, 32]}
    place = folder(tmp_path / "model", packed, {"model.layers.0.q_proj.qweight": entry})
    assert str(place) in outcome(place)


def gguf_bytes(metadata: bytes = b"", keys: int = 0, tensors: bytes = b"", count: int = 0) -> bytes:
    return b"GGUF" + struct.pack("<IQQ", 3, count, keys) + metadata + tensors + bytes(64)


def text(value: bytes, length: int | None = None) -> bytes:
    return struct.pack("<Q", len(value) if length is None else length) + value


def tensor(dimensions: int = 1, size: int = 4, offset: int = 0, kind: int = 0) -> bytes:
    shape = struct.pack(f"<{min(dimensions, 9)}Q", *[size] * min(dimensions, 9))
    return text(b"a") + struct.pack("<I", dimensions) + shape + struct.pack("<IQ", kind, offset)


NESTED = b"".join(struct.pack("<IQ", 9, 1) for _ in range(2000))
ALIGNED = text(b"general.alignment")
GGUFS: dict[str, bytes] = {
    "empty": b"",
    "cut": b"GGUF\x03\0",
    "another format": b"ggml" + bytes(64),
    "another version": b"GGUF" + struct.pack("<IQQ", 9, 0, 0),
    "no tensors": gguf_bytes(),
    "a string of 4 EiB": gguf_bytes(text(b"a", 2**62), 1),
    "a string of 1 TiB": gguf_bytes(text(b"a", 2**40), 1),
    "2**62 keys": gguf_bytes(keys=2**62),
    "2**62 tensors": gguf_bytes(count=2**62),
    "arrays in arrays": gguf_bytes(text(b"a") + struct.pack("<I", 9) + NESTED, 1),
    "an array of 2**62": gguf_bytes(text(b"a") + struct.pack("<IIQ", 9, 4, 2**62), 1),
    "an unknown type": gguf_bytes(text(b"a") + struct.pack("<I", 77), 1),
    "many dimensions": gguf_bytes(tensors=tensor(2**32 - 1), count=1),
    "alignment 0": gguf_bytes(ALIGNED + struct.pack("<II", 4, 0), 1, tensor(), 1),
    "alignment as text": gguf_bytes(ALIGNED + struct.pack("<I", 8) + text(b"x"), 1, tensor(), 1),
    "a tensor past the end": gguf_bytes(tensors=tensor(offset=2**40), count=1),
    "a tensor too large": gguf_bytes(tensors=tensor(3, 2**40), count=1),
    "no architecture": gguf_bytes(tensors=tensor(), count=1),
}


@pytest.mark.parametrize("name", GGUFS)
def test_a_gguf_header_that_cannot_be(name: str, tmp_path: Path) -> None:
    file = tmp_path / "model.gguf"
    file.write_bytes(GGUFS[name])
    assert str(file) in outcome(file)


@pytest.mark.parametrize("offsets", [(0, 0), (0, 1)], ids=["at one place", "between two places"])
def test_tensors_of_a_gguf_file_begin_where_they_can(offsets: tuple[int, int], tmp_path: Path) -> None:
    file = tmp_path / "model.gguf"
    file.write_bytes(gguf_bytes(tensors=b"".join(tensor(offset=offset) for offset in offsets), count=2))
    assert outcome(file) == f"{file} is broken: tensors in it begin where none can"


@pytest.mark.parametrize(("kind", "said"), [(3, "is larger than its type says"), (30, "does not fit in it")])
def test_tensors_of_a_gguf_file_are_as_large_as_their_type_says(kind: int, said: str, tmp_path: Path) -> None:
    """Q8_0, 32 numbers in 34 bytes, called Q4_1 or bf16."""
    file = tmp_path / "model.gguf"
    infos = (tensor(size=32, offset=offset, kind=8) for offset in (0, 64))
    file.write_bytes(gguf_bytes(tensors=b"".join(infos), count=2) + bytes(64))
    assert len(gguf_header.read(file).tensors) == 2
    infos = (tensor(size=32 if kind == 3 else 64, kind=kind), tensor(size=32, offset=64, kind=8))
    file.write_bytes(gguf_bytes(tensors=b"".join(infos), count=2) + bytes(64))
    with pytest.raises(ShapeError, match=said):
        gguf_header.read(file)


def _dangling(place: Path) -> Path:
    (place / "model.safetensors").unlink()
    (place / "model.safetensors").symlink_to(place / "pruned")
    return place


def _folder_as_weights(place: Path) -> Path:
    (place / "model.safetensors").unlink()
    (place / "model.safetensors").mkdir()
    return place


def _pipe_as_config(place: Path) -> Path:
    (place / "config.json").unlink()
    os.mkfifo(place / "config.json")
    return place


def _pipe_as_gguf(place: Path) -> Path:
    os.mkfifo(place / "model.gguf")
    return place / "model.gguf"


def _device_as_gguf(place: Path) -> Path:
    (place / "model.gguf").symlink_to("/dev/zero")
    return place / "model.gguf"


def _forbidden(place: Path) -> Path:
    """Weights that are a link through a file: `root` may read whatever has no permissions."""
    (place / "model.safetensors").unlink()
    (place / "model.safetensors").symlink_to("config.json/model.safetensors")
    return place


def _loop(place: Path) -> Path:
    (place / "loop").symlink_to("loop")
    return place / "loop"


PLACES: dict[str, Callable[[Path], Path]] = {
    "a dangling link": _dangling,
    "a folder as weights": _folder_as_weights,
    "a pipe as config": _pipe_as_config,
    "a pipe as GGUF": _pipe_as_gguf,
    "a device as GGUF": _device_as_gguf,
    "a link through a file": _forbidden,
    "no such GGUF": lambda place: place / "none.gguf",
    "a name too long": lambda place: place / ("a" * 300) / "b",
    "a GGUF's name too long": lambda place: place / ("a" * 300 + ".gguf"),
    "a link to itself": _loop,
}


@pytest.mark.parametrize("name", PLACES)
def test_a_place_that_cannot_be_read(name: str, tmp_path: Path) -> None:
    place = PLACES[name](folder(tmp_path / "model"))
    assert str(tmp_path) in outcome(place)


def test_nobody_dies_of_a_model_that_was_to_be_planned(tmp_path: Path) -> None:
    place = folder(tmp_path / "model", [])
    wanted = Profile(name="it", model=profile.Model(source=str(place)))
    assert advice.refusal(wanted) is None
    assert advice.fit_together([wanted])
    with pytest.raises(LoadError):
        planned(wanted)


def _mutated(content: bytes, rng: random.Random) -> bytes:
    """The content with a few bytes changed, taken out, doubled or cut off."""
    found = bytearray(content)
    for _ in range(rng.randint(1, 4)):
        at = rng.randrange(len(found) or 1)
        match rng.randrange(5):
            case 0:
                found[at : at + 1] = bytes([rng.randrange(256)])
            case 1:
                found[at : at + 8] = struct.pack(
                    "<Q", rng.choice([0, 1, 2**31, 2**62, 2**64 - 1, rng.randrange(99)])
                )
            case 2:
                del found[at : at + rng.randrange(9)]
            case 3:
                found[at:at] = found[at : at + rng.randrange(30)]
            case 4:
                found[at:at] = rng.choice(
                    [b"null", b"-1", b"[]", b'"x"', b"1e999", b"{", b'":', b"9" * 30, b"true"]
                )
    return bytes(found)


def test_mutated_headers_are_planned_or_refused_in_one_line(tmp_path: Path) -> None:
    rng = random.Random(11)
    place = folder(tmp_path / "model")
    file, config = tmp_path / "model.gguf", (place / "config.json").read_bytes()
    weights = (place / "model.safetensors").read_bytes()
    metadata = [
        (b"block_count", 2),
        (b"embedding_length", 64),
        (b"attention.head_count", 4),
        (b"vocab_size", 9),
    ]
    keys = [text(b"general.architecture") + struct.pack("<I", 8) + text(b"llama")]
    keys += [text(b"llama." + name) + struct.pack("<II", 4, value) for name, value in metadata]
    keys += [text(b"tokenizer.ggml.tokens") + struct.pack("<IIQ", 9, 8, 2) + text(b"a") + text(b"b")]
    sound = gguf_bytes(b"".join(keys), len(keys), tensor(), 1)
    file.write_bytes(sound)
    assert outcome(place) == "" and outcome(file) == ""
    for _ in range(200):
        (place / "config.json").write_bytes(_mutated(config, rng))
        outcome(place)
    (place / "config.json").write_bytes(config)
    for _ in range(200):
        (place / "model.safetensors").write_bytes(_mutated(weights, rng))
        outcome(place)
        file.write_bytes(_mutated(sound, rng))
        outcome(file)
