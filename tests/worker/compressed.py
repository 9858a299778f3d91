"""Folders as llm-compressor writes them, by compressed-tensors' own code, and its own view of the weights."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from compressed_tensors.compressors import BaseCompressor, ModelCompressor
from compressed_tensors.quantization import QuantizationConfig, apply_quantization_config
from safetensors.torch import load_file, save_file
from torch import Tensor
from transformers import AutoModelForCausalLM

from engine.worker.load import LoadedModel


def write(source: LoadedModel, folder: Path, weights: Mapping[str, Any], **scheme: Any) -> Path:
    """The model with its layers' matrices by these weight arguments, rounded to nearest."""
    config = QuantizationConfig.model_validate(
        {
            "config_groups": {"all": {"targets": ["Linear"], "weights": weights, **scheme}},
            "ignore": ["lm_head", "re:.*layers\\.1\\.mlp\\.up_proj"],
            "format": "float-quantized" if weights["type"] == "float" else "pack-quantized",
            "quantization_status": "compressed",
        }
    )
    model = AutoModelForCausalLM.from_config(source.model.config, dtype=torch.bfloat16)
    model.load_state_dict(source.model.state_dict())
    apply_quantization_config(model, config)
    for layer in model.modules():
        if hasattr(layer, "weight_scale"):
            _calibrate(layer, weights)
    compressor = ModelCompressor(quantization_config=config)
    compressor.compress_model(model)
    model.config.save_pretrained(folder)
    source.tokenizer.save_pretrained(folder)
    save_file(model.state_dict(), folder / "model.safetensors", metadata={"format": "pt"})
    compressor.update_config(str(folder))
    return folder


def dequantized(folder: Path, module: str, config: Mapping[str, Any]) -> Tensor:
    """What compressed-tensors itself makes of a matrix, in its own dtype."""
    tensors = load_file(folder / "model.safetensors")
    prefix = f"{module}."
    parts = {name.removeprefix(prefix): value for name, value in tensors.items() if name.startswith(prefix)}
    found = QuantizationConfig.model_validate({**config, "quant_method": "compressed-tensors"})
    compressor = BaseCompressor.get_value_from_registry(found.format)
    scheme = next(iter(found.config_groups.values()))
    return compressor.decompress(parts, scheme)["weight"]


def _calibrate(layer: Any, weights: Mapping[str, Any]) -> None:
    if weights["strategy"] == "tensor":
        layer.weight_scale.data.fill_(float(layer.weight.abs().max()) / 448)
        return
    groups = layer.weight_scale.shape[1]
    parts = layer.weight.float().view(len(layer.weight), groups, -1)  # [rows, groups, group size]
    if weights["type"] == "float":
        layer.weight_scale.data.copy_(parts.abs().amax(-1) / 448)
        return
    half = 2 ** (weights["num_bits"] - 1)
    if weights["symmetric"]:
        layer.weight_scale.data.copy_(parts.abs().amax(-1) / (half - 0.5))
        return
    low, high = parts.amin(-1).clamp(max=0), parts.amax(-1).clamp(min=0)
    scale = (high - low) / (2 * half - 1)
    layer.weight_scale.data.copy_(scale)
    layer.weight_zero_point.data.copy_((-half - low / scale).round().clamp(-half, half - 1))
