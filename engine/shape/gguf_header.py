"""The metadata at the beginning of a GGUF file: its architecture and its tensors, without their content.

The format: https://github.com/ggml-org/ggml/blob/master/docs/gguf.md, versions 2 and 3, little-endian.
"""

import struct
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from engine.errors import ShapeError
from engine.shape.model_shape import Tensor

MAGIC, VERSIONS, ALIGNMENT = b"GGUF", (2, 3), 32
_STRING, _ARRAY = 8, 9
_FORMATS = {0: "B", 1: "b", 2: "H", 3: "h", 4: "I", 5: "i", 6: "f", 7: "?", 10: "Q", 11: "q", 12: "d"}

Value = int | float | bool | str


@dataclass(frozen=True, slots=True)
class Header:
    """What the file says of itself."""

    metadata: dict[str, Value]
    """Single values; of an array its length."""
    tensors: tuple[Tensor, ...]


def read(path: Path) -> Header:
    """The header; ShapeError where the file is none."""
    with path.open("rb") as file:
        if file.read(4) != MAGIC:
            raise ShapeError(f"{path} is no GGUF file, whatever its name says")
        try:
            return _header(file, path)
        except (struct.error, KeyError, UnicodeDecodeError, OverflowError) as error:
            raise ShapeError(f"the header of {path} cannot be read") from error


def config(metadata: dict[str, Value]) -> dict[str, Value | None]:
    """The metadata by the names that a config.json has."""
    kind = str(metadata.get("general.architecture", ""))
    names = {
        "num_hidden_layers": "block_count",
        "hidden_size": "embedding_length",
        "intermediate_size": "feed_forward_length",
        "num_attention_heads": "attention.head_count",
        "num_key_value_heads": "attention.head_count_kv",
        "head_dim": "attention.key_length",
        "v_head_dim": "attention.value_length",
        "max_position_embeddings": "context_length",
        "sliding_window": "attention.sliding_window",
        "num_experts": "expert_count",
        "vocab_size": "vocab_size",
    }
    found = {ours: metadata.get(f"{kind}.{theirs}") for ours, theirs in names.items()}
    vocabulary = found["vocab_size"] or metadata.get("tokenizer.ggml.tokens")
    return {**found, "model_type": kind, "vocab_size": vocabulary}


def _header(file: BinaryIO, path: Path) -> Header:
    version, tensors, keys = _unpack(file, "IQQ")
    if version not in VERSIONS:
        raise ShapeError(f"{path} is GGUF version {version}; versions 2 and 3 are known")
    metadata = {_string(file): _value(file, _unpack(file, "I")[0]) for _ in range(keys)}
    infos = [_tensor_info(file) for _ in range(tensors)]
    alignment = int(metadata.get("general.alignment", ALIGNMENT))
    data_bytes = path.stat().st_size - -(-file.tell() // alignment) * alignment
    ends = [*sorted(offset for _, _, offset in infos)[1:], data_bytes]
    end_of = dict(zip(sorted(offset for _, _, offset in infos), ends, strict=True))
    return Header(
        metadata, tuple(Tensor(name, shape, end_of[offset] - offset) for name, shape, offset in infos)
    )


def _tensor_info(file: BinaryIO) -> tuple[str, tuple[int, ...], int]:
    """Name, shape (outermost first, as everywhere else here) and offset."""
    name = _string(file)
    (dimensions,) = _unpack(file, "I")
    shape = _unpack(file, f"{dimensions}Q")
    _, offset = _unpack(file, "IQ")  # the block's type comes first
    return name, tuple(reversed(shape)), offset


def _value(file: BinaryIO, kind: int) -> Value:
    if kind == _STRING:
        return _string(file)
    if kind == _ARRAY:
        inner, count = _unpack(file, "IQ")
        _skip(file, inner, count)
        return count
    found: Value = _unpack(file, _FORMATS[kind])[0]
    return found


def _skip(file: BinaryIO, kind: int, count: int) -> None:
    if kind in {_STRING, _ARRAY}:
        for _ in range(count):
            _value(file, kind)
    else:
        file.seek(count * struct.calcsize("<" + _FORMATS[kind]), 1)


def _string(file: BinaryIO) -> str:
    (length,) = _unpack(file, "Q")
    return file.read(length).decode()


def _unpack(file: BinaryIO, layout: str) -> tuple[int, ...]:
    layout = "<" + layout
    return struct.unpack(layout, file.read(struct.calcsize(layout)))
