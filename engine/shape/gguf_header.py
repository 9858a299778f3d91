"""The metadata at the beginning of a GGUF file: its architecture and its tensors, without their content.

The format: https://github.com/ggml-org/ggml/blob/master/docs/gguf.md, versions 2 and 3, little-endian.
"""

import math
import os
import struct
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Literal

from engine import input_files
from engine.errors import ShapeError
from engine.shape.boundary import LARGEST_BYTES, MOST_DIMENSIONS, UnsoundError, explained, whole
from engine.shape.model_shape import Tensor

MAGIC, VERSIONS, ALIGNMENT = b"GGUF", (2, 3), 32
LARGEST_ALIGNMENT = 1 << 20
DEEPEST_ARRAY = 4
_BOOL, _STRING, _ARRAY = 7, 8, 9
_WINDOWED = {"gemma2", "gemma3"}  # of the others transformers leaves the window out
_KINDS = {
    "gemma3": "gemma3_text",
    "gpt-oss": "gpt_oss",
    "minimax-m2": "minimax_m2",
    "qwen2moe": "qwen2_moe",
    "qwen3moe": "qwen3_moe",
}
"""GGUF's names of kinds, and transformers'."""
_BLOCKS = {
    **{0: (1, 4), 1: (1, 2), 2: (32, 18), 3: (32, 20), 6: (32, 22), 7: (32, 24), 8: (32, 34), 9: (32, 40)},
    **{10: (256, 84), 11: (256, 110), 12: (256, 144), 13: (256, 176), 14: (256, 210), 15: (256, 292)},
    **{16: (256, 66), 17: (256, 74), 18: (256, 98), 19: (256, 50), 20: (32, 18), 21: (256, 110)},
    **{22: (256, 82), 23: (256, 136), 24: (1, 1), 25: (1, 2), 26: (1, 4), 27: (1, 8), 28: (1, 8)},
    **{29: (256, 56), 30: (1, 2), 34: (256, 54), 35: (256, 66), 39: (32, 17), 40: (64, 36), 41: (128, 18)},
}
"""By a tensor's type: how many numbers a block has, and how many bytes."""
_LENGTH = struct.Struct("<Q")
_FORMATS = {0: "B", 1: "b", 2: "H", 3: "h", 4: "I", 5: "i", 6: "f", 7: "?", 10: "Q", 11: "q", 12: "d"}


@dataclass(frozen=True, slots=True)
class Array:
    """A list of values, of which is read how many of what they are."""

    length: int
    holds: Literal["text", "number", "truth", "list", "nothing"]

    def __repr__(self) -> str:
        """As messages say it."""
        return f"an array of {self.length}"


Value = int | float | bool | str | Array


@dataclass(frozen=True, slots=True)
class Header:
    """What the file says of itself."""

    metadata: dict[str, Value]
    tensors: tuple[Tensor, ...]


def read(path: Path) -> Header:
    """The header; ShapeError where the file is none."""
    with explained(path), input_files.opened(path) as file:
        if file.read(4) != MAGIC:
            raise ShapeError(f"{path} is not a GGUF file, whatever its name says")
        try:
            return _header(file, path)
        except (struct.error, KeyError, UnicodeDecodeError, OverflowError, RecursionError) as error:
            raise ShapeError(f"the header of {path} cannot be read") from error


def config(metadata: dict[str, Value]) -> dict[str, Value]:
    """The metadata by the names that a config.json has, as far as transformers takes it over."""
    kind = str(metadata.get("general.architecture", ""))
    names = {
        "num_hidden_layers": "block_count",
        "hidden_size": "embedding_length",
        "intermediate_size": "feed_forward_length",
        "num_attention_heads": "attention.head_count",
        "num_key_value_heads": "attention.head_count_kv",
        "head_dim": "attention.key_length",
        "max_position_embeddings": "context_length",
        "num_experts": "expert_count",
        "vocab_size": "vocab_size",
    }
    if kind in _WINDOWED:
        names["sliding_window"] = "attention.sliding_window"
    keys = {ours: f"{kind}.{theirs}" for ours, theirs in names.items()}
    tokens = metadata.get("tokenizer.ggml.tokens")
    vocabulary = {"vocab_size": tokens.length} if isinstance(tokens, Array) else {}
    said = {ours: metadata[key] for ours, key in keys.items() if key in metadata}
    return {**vocabulary, **said, "model_type": _KINDS.get(kind, kind)}


def _header(file: BinaryIO, path: Path) -> Header:
    version, tensors, keys = _unpack(file, "IQQ")
    if version not in VERSIONS:
        raise ShapeError(f"{path} is GGUF version {version}; versions 2 and 3 are known")
    metadata = {_string(file): _value(file, _unpack(file, "I")[0]) for _ in range(keys)}
    infos = [_tensor_info(file) for _ in range(tensors)]
    if not infos:
        raise ShapeError(f"{path} has no tensors: it is only a vocabulary, not a model")
    alignment = whole(metadata.get("general.alignment", ALIGNMENT), "general.alignment", 1, LARGEST_ALIGNMENT)
    data_bytes = os.fstat(file.fileno()).st_size - -(-file.tell() // alignment) * alignment
    offsets = sorted(info.offset for info in infos)
    if len({*offsets}) < len(offsets) or any(offset % alignment for offset in offsets):
        raise ShapeError(f"{path} is broken: tensors in it begin where none can", "download it again")
    end_of = dict(zip(offsets, [*offsets[1:], data_bytes], strict=True))
    for info in infos:
        room_bytes = end_of[info.offset] - info.offset
        if not info.least_bytes <= room_bytes:
            raise ShapeError(
                f"{path} is cut short or broken: {info.name} does not fit in it", "download it again"
            )
        if info.offset != offsets[-1] and info.type in _BLOCKS and room_bytes - info.least_bytes >= alignment:
            raise ShapeError(
                f"{path} is broken: {info.name} is larger than its type says", "download it again"
            )
    found = tuple(Tensor(info.name, info.shape, end_of[info.offset] - info.offset) for info in infos)
    return Header(metadata, found)


@dataclass(frozen=True, slots=True)
class _Info:
    """What is said of a tensor."""

    name: str
    shape: tuple[int, ...]
    """Outermost first, as everywhere else here."""
    type: int
    offset: int

    @property
    def least_bytes(self) -> int:
        """Without what fills it up to the alignment; of an unknown type a bit a number."""
        numbers, size = _BLOCKS.get(self.type, (8, 1))
        return -(-math.prod(self.shape) // numbers) * size


def _tensor_info(file: BinaryIO) -> _Info:
    name = _string(file)
    (dimensions,) = _unpack(file, "I")
    shape = _unpack(file, f"{whole(dimensions, f'dimensions of {name}', 0, MOST_DIMENSIONS)}Q")
    kind, offset = _unpack(file, "IQ")
    return _Info(name, tuple(reversed(shape)), kind, offset)


def _value(file: BinaryIO, kind: int, depth: int = 0) -> Value:
    if kind == _STRING:
        return _string(file)
    if kind == _ARRAY:
        inner, count = _unpack(file, "IQ")
        _skip(file, inner, count, depth + 1)
        return Array(count, _kind_of(inner) if count else "nothing")
    found: Value = _unpack(file, _FORMATS[kind])[0]
    return found


def _kind_of(kind: int) -> Literal["text", "number", "truth", "list"]:
    named: dict[int, Literal["text", "truth", "list"]] = {_STRING: "text", _BOOL: "truth", _ARRAY: "list"}
    return named.get(kind, "number")


def _skip(file: BinaryIO, kind: int, count: int, depth: int) -> None:
    whole(depth, "nested arrays", 1, DEEPEST_ARRAY)
    if kind == _STRING:
        _skip_strings(file, count)
    elif kind == _ARRAY:
        for _ in range(count):
            _value(file, kind, depth)
    else:
        size = count * struct.calcsize("<" + _FORMATS[kind])
        file.seek(whole(size, "bytes of an array", 0, _left(file)), 1)


def _skip_strings(file: BinaryIO, count: int) -> None:
    """A vocabulary has hundreds of thousands: nothing is asked of the file for each."""
    left = _left(file)
    for _ in range(count):
        (length,) = _LENGTH.unpack(file.read(8))
        left -= 8 + length
        if left < 0:
            raise UnsoundError(f"bytes of a string: {length} are more than a header has")
        file.read(length).decode()


def _string(file: BinaryIO) -> str:
    (length,) = _unpack(file, "Q")
    return file.read(whole(length, "bytes of a string", 0, _left(file))).decode()


def _left(file: BinaryIO) -> int:
    """Bytes that a header can still have."""
    return max(0, LARGEST_BYTES - file.tell())


def _unpack(file: BinaryIO, layout: str) -> tuple[int, ...]:
    layout = "<" + layout
    return struct.unpack(layout, file.read(struct.calcsize(layout)))
