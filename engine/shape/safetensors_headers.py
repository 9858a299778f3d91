"""Tensor names, shapes and dtypes out of safetensors files: the JSON at their beginning, and nothing else.

The format: 8 bytes of little-endian length, then a JSON object of that length
(https://huggingface.co/docs/safetensors/index#format).
"""

import json
from pathlib import Path
from typing import Any

from engine.errors import ShapeError
from engine.shape.model_shape import Precision, Tensor
from engine.shape.weight_files import weight_files

LONGEST_HEADER_BYTES = 100_000_000  # what the format's own reader allows
PRECISIONS: dict[str, Precision] = {"BF16": "bfloat16", "F16": "float16", "F32": "float32"}


def tensors(folder: Path) -> tuple[tuple[Tensor, ...], Precision | None]:
    """Every tensor of a checkpoint folder in the files' order, and the first floating-point dtype."""
    found: list[Tensor] = []
    dtype: Precision | None = None
    for file in weight_files(folder):
        for name, entry in _header(file).items():
            begin, end = entry["data_offsets"]
            found.append(Tensor(name, tuple(entry["shape"]), end - begin))
            dtype = dtype or PRECISIONS.get(entry["dtype"])
    return tuple(found), dtype


def _header(file: Path) -> dict[str, dict[str, Any]]:
    with file.open("rb") as content:
        length = int.from_bytes(content.read(8), "little")
        if not 0 < length <= min(LONGEST_HEADER_BYTES, file.stat().st_size):
            raise ShapeError(f"{file} is no safetensors file: its header would be {length} bytes long")
        try:
            header = json.loads(content.read(length))
        except ValueError as error:
            raise ShapeError(f"{file} is no safetensors file: its header cannot be read") from error
    return {name: entry for name, entry in header.items() if name != "__metadata__"}
