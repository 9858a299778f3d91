"""A folder in GPTQ's layout, written again as compressed-tensors stores the same integers (pack-quantized).

The inverse of `checkpoints/w4a16`. What comes out is what vLLM and llm-compressor call W4A16 and W8A16.
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor
from torch.nn import Module

from engine.config.layouts import COMPRESSED, PACK_QUANTIZED, Layout, layout
from engine.errors import LoadError
from engine.shape.weight_files import INDEX, weight_files
from engine.worker.checkpoints.w4a16 import MAIN, SCALE, SHAPE, ZERO

_GPTQ = ("qweight", "qzeros", "scales", "g_idx")
_OWN_SETTINGS = ("quantize_config.json", "quant_log.csv")


def require_no_experts(model: Module, name: str) -> None:
    """LoadError for a mixture: packed experts are not read back from compressed-tensors."""
    if any(".experts." in module for module, _ in model.named_modules()):
        raise LoadError(
            f"{name} is a mixture of experts, which compressed-tensors' W4A16 is not written for here",
            "leave out `quantization.format`: GPTQ's own format holds experts, too",
        )


def rewrite(folder: Path) -> None:
    """Replace weights and settings, file by file; LoadError where columns are not in their own order."""
    config = json.loads((folder / "config.json").read_text())
    stored = config["quantization_config"]
    found, first = layout(stored), stored.get("checkpoint_format") != "gptq_v2"
    weight_map: dict[str, str] = {}
    for file in weight_files(folder):
        tensors = _renamed(load_file(file), found, is_first_format=first)
        save_file(tensors, file, metadata={"format": "pt"})
        weight_map |= dict.fromkeys(tensors, file.name)
    if (folder / INDEX).is_file():
        (folder / INDEX).write_text(json.dumps({"metadata": {}, "weight_map": weight_map}))
    packed = {name.removesuffix(f".{MAIN}") for name in weight_map if name.endswith(f".{MAIN}")}
    config["quantization_config"] = _config(found, _left(weight_map, packed))
    (folder / "config.json").write_text(json.dumps(config, indent=2))
    for name in _OWN_SETTINGS:
        (folder / name).unlink(missing_ok=True)


def _renamed(tensors: Mapping[str, Tensor], found: Layout, *, is_first_format: bool) -> dict[str, Tensor]:
    out = {name: tensor for name, tensor in tensors.items() if name.rpartition(".")[2] not in _GPTQ}
    for module in (name.removesuffix(".qweight") for name in tensors if name.endswith(".qweight")):
        words, scales = tensors[f"{module}.qweight"], tensors[f"{module}.scales"]
        columns = words.shape[0] * 32 // found.bits
        _require_order(module, tensors.get(f"{module}.g_idx"), columns // scales.shape[0])
        out[f"{module}.{MAIN}"] = words.t().contiguous()
        out[f"{module}.{SCALE}"] = scales.t().contiguous()
        out[f"{module}.{SHAPE}"] = torch.tensor([words.shape[1], columns])
        if not found.sym:
            zeros = tensors[f"{module}.qzeros"]
            out[f"{module}.{ZERO}"] = (
                (_plus_one(zeros, found.bits) if is_first_format else zeros).t().contiguous()
            )
    return out


def _plus_one(words: Tensor, bits: int) -> Tensor:
    """Each packed number one higher, without a carry: the first format stores zero points less one."""
    places = torch.arange(0, 32, bits, dtype=torch.int32)
    most = (1 << bits) - 1
    numbers = ((words[..., None] >> places) & most) + 1 & most
    shifted = numbers.long() << places
    return shifted.sum(-1).to(torch.int32)


def _require_order(module: str, order: Tensor | None, group: int) -> None:
    if order is not None and not torch.equal(order.long(), torch.arange(len(order)) // group):
        raise LoadError(f"{module} has its columns in another order, which compressed-tensors does not store")


def _left(names: Mapping[str, str], packed: set[str]) -> list[str]:
    """The matrices that are not packed; the head among them also where it is the embedding."""
    plain = {name.removesuffix(".weight") for name in names if name.endswith("_proj.weight")}
    return sorted({"lm_head", *(plain - packed)})


def _config(found: Layout, left: list[str]) -> dict[str, Any]:
    in_rows = found.group_size == -1
    weights = {
        "num_bits": found.bits,
        "type": "int",
        "symmetric": found.sym,
        "strategy": "channel" if in_rows else "group",
        "group_size": None if in_rows else found.group_size,
    }
    return {
        "quant_method": COMPRESSED,
        "format": PACK_QUANTIZED,
        "quantization_status": "compressed",
        "ignore": left,
        "config_groups": {"group_0": {"targets": ["Linear"], "weights": weights}},
    }
