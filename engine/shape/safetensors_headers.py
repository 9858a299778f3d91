"""Tensor names, shapes and dtypes out of safetensors files: the JSON at their beginning, and nothing else.

The format: 8 bytes of little-endian length, then a JSON object of that length
(https://huggingface.co/docs/safetensors/index#format).
"""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from engine import input_files
from engine.errors import ShapeError
from engine.shape.boundary import LARGEST_BYTES, UnsoundError, dimensions, explained, parsed, whole
from engine.shape.model_shape import Precision, Tensor
from engine.shape.weight_files import weight_files

PRECISIONS: dict[str, Precision] = {"BF16": "bfloat16", "F16": "float16", "F32": "float32"}
_PREFIX_BYTES = 8


def tensors(folder: Path) -> tuple[tuple[Tensor, ...], Precision | None]:
    """Every tensor of a checkpoint folder in the files' order, and the first floating-point dtype."""
    found: list[Tensor] = []
    dtype: Precision | None = None
    for file in weight_files(folder):
        for name, entry in _header(file).items():
            with explained(f"{file}: {name}"):
                found.append(tensor(name, entry["shape"], *entry["data_offsets"]))
                dtype = dtype or PRECISIONS.get(entry["dtype"])
    return tuple(found), dtype


def tensor(name: str, shape: object, begin: object, end: object) -> Tensor:
    """A tensor as a header describes it; UnsoundError where its bytes cannot hold its numbers."""
    first = whole(begin, name)
    size = whole(end, name, least=first) - first
    made = Tensor(name, dimensions(shape, name), size)
    if made.elements > 8 * size:  # of a bit each, at least
        raise UnsoundError(f"{name} has {size} bytes for numbers in the shape {list(made.shape)}")
    return made


def _header(file: Path) -> Mapping[str, Any]:
    with explained(file), input_files.opened(file) as content:
        file_bytes = os.fstat(content.fileno()).st_size
        length = int.from_bytes(content.read(_PREFIX_BYTES), "little")
        if not 0 < length <= min(LARGEST_BYTES, file_bytes - _PREFIX_BYTES):
            raise ShapeError(f"{file} is not a safetensors file: its header would be {length} bytes long")
        header = parsed(content.read(length), f"{file} is not a safetensors file: its header")
        entries = {name: entry for name, entry in header.items() if name != "__metadata__"}
        ends = (whole(entry["data_offsets"][1], name) for name, entry in entries.items())
        needed = _PREFIX_BYTES + length + max(ends, default=0)
        if needed > file_bytes:
            raise ShapeError(f"{file} is cut short: {file_bytes} bytes of {needed}", "download it again")
        return entries
