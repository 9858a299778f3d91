"""compressed-tensors' packed integers read as GPTQ's: the same words, with rows and columns exchanged.

Owns what the tensors of both are called, and a temporary patch of the function that accelerate reads a file
with. Nothing is unpacked and nothing is written. Which schemes have such a layout says `config/layouts`.
"""

import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from engine.config.layouts import Layout, compressed
from engine.worker.checkpoints import stored_tensors
from engine.worker.checkpoints.stored_tensors import Stored
from engine.worker.replaced import replaced

ORIGINAL = "stored_as"
MAIN, SCALE, ZERO, ORDER, SHAPE = (
    f"weight_{part}" for part in ("packed", "scale", "zero_point", "g_idx", "shape")
)
_PARTS = {MAIN, SCALE, ZERO, ORDER, SHAPE}
_IN_A_LAYER = re.compile(r"\.\d+\.")
_TILE = 32  # rows and columns that every kernel's words divide

Modules = dict[str, dict[str, Stored]]


def as_gptq(folder: Path, config: Mapping[str, Any]) -> dict[str, Any] | None:
    """The quantization_config by which a folder of compressed-tensors is read as GPTQ's.

    None where its scheme or a matrix has no such layout. What the folder said is kept in it, as `ORIGINAL`.
    """
    found = compressed(config.get("quantization_config") or {})
    if found is None or find_spec("gptqmodel") is None:
        return None
    tensors = stored_tensors.tensors(folder)
    packed = _modules(tensors)
    if not packed or not all(_fits(name, parts, found) for name, parts in packed.items()):
        return None
    plain = (name.removesuffix(".weight") for name, stored in tensors.items() if _is_matrix(name, stored))
    return {
        "quant_method": "gptq",
        "checkpoint_format": "gptq" if found.sym else "gptq_v2",
        "bits": found.bits,
        "group_size": found.group_size,
        "sym": found.sym,
        "desc_act": found.desc_act,
        "dynamic": {f"-:^{re.escape(module)}$": {} for module in plain},
        ORIGINAL: dict(config["quantization_config"]),
    }


def renamed(tensors: Mapping[str, tuple[int, ...]], bits: int) -> dict[str, tuple[int, ...]]:
    """Names and shapes as GPTQ has them."""
    out: dict[str, tuple[int, ...]] = {}
    for key, shape in tensors.items():
        module, _, part = key.rpartition(".")
        if part not in _PARTS:
            out[key] = shape
        elif part == MAIN:
            groups = tensors[f"{module}.{SCALE}"][1]
            rows, columns = shape[0], shape[1] * 32 // bits
            out[f"{module}.qweight"], out[f"{module}.g_idx"] = (shape[1], rows), (columns,)
            out[f"{module}.scales"], out[f"{module}.qzeros"] = (groups, rows), (groups, rows * bits // 32)
    return out


@contextmanager
def read_as_gptq(folder: Path, layout: Layout) -> Iterator[None]:
    """Within it accelerate's loader gets every packed matrix of the folder as GPTQ stores it."""
    from accelerate.utils import modeling

    original, repack = modeling.load_state_dict, _Repacking(folder, layout)
    with replaced(modeling, "load_state_dict", lambda *args, **options: repack(original(*args, **options))):
        yield


class _Repacking:
    """File after file; a matrix whose parts are in two files comes with the second."""

    def __init__(self, folder: Path, layout: Layout) -> None:
        self._layout, self._expected = layout, _modules(stored_tensors.tensors(folder))
        self._waiting: dict[str, dict[str, Tensor]] = {}

    def __call__(self, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
        out: dict[str, Tensor] = {}
        for key, tensor in tensors.items():
            module, _, part = key.rpartition(".")
            if module not in self._expected or part not in _PARTS:
                out[key] = tensor
                continue
            parts = self._waiting.setdefault(module, {})
            parts[part] = tensor
            if len(parts) == len(self._expected[module]):
                out |= _gptq(module, self._waiting.pop(module), self._layout)
        return out


def _gptq(module: str, parts: Mapping[str, Tensor], layout: Layout) -> dict[str, Tensor]:
    packed, scales = parts[MAIN], parts[SCALE].t().contiguous()  # [rows, words], [groups, rows]
    columns = packed.shape[1] * 32 // layout.bits
    size = columns if layout.group_size == -1 else layout.group_size
    order = parts.get(ORDER)
    if order is None:
        order = torch.arange(columns, device=packed.device) // size
    zeros = parts[ZERO].t().contiguous() if ZERO in parts else _middle(scales, layout.bits)
    return {
        f"{module}.qweight": packed.t().contiguous(),
        f"{module}.qzeros": zeros,
        f"{module}.scales": scales,
        f"{module}.g_idx": order.to(torch.int32),
    }


def _middle(scales: Tensor, bits: int) -> Tensor:
    """The zero point of symmetric weights, half of the range, less one: so GPTQ's first format counts."""
    word = 0
    for place in range(32 // bits):
        word |= ((1 << (bits - 1)) - 1) << (place * bits)
    groups, rows = scales.shape
    return torch.full((groups, rows * bits // 32), word, dtype=torch.int32, device=scales.device)


def _modules(tensors: Mapping[str, Stored]) -> Modules:
    """The parts of every packed matrix."""
    packed = [name.removesuffix(f".{MAIN}") for name in tensors if name.endswith(f".{MAIN}")]
    return {
        module: {part: tensors[f"{module}.{part}"] for part in _PARTS if f"{module}.{part}" in tensors}
        for module in packed
    }


def _is_matrix(name: str, stored: Stored) -> bool:
    return name.endswith(".weight") and len(stored.shape) == 2 and bool(_IN_A_LAYER.search(name))


def _fits(name: str, parts: Mapping[str, Stored], layout: Layout) -> bool:
    if SCALE not in parts or ".experts." in name or (not layout.sym and ZERO not in parts):
        return False
    rows, words = (*parts[MAIN].shape, 0)[:2]
    columns = words * 32 // layout.bits
    size = columns if layout.group_size == -1 else layout.group_size
    groups = parts[SCALE].shape
    return (
        rows % _TILE == 0
        and columns % _TILE == 0
        and columns % size == 0
        and groups == (rows, columns // size)
    )
