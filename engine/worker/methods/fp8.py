"""FP8 weights: made while a model is read, or read from compressed-tensors' folders; one module for both.

Owns the rounding to e4m3, the matmul, and the folder that is written. Row-wise, as vLLM and transformers
multiply: a float32 scale a row of weights, and one a token of activations where the GPU multiplies FP8.
"""

import copy
import json
import re
from dataclasses import replace
from pathlib import Path

import torch
import torch.nn.functional as F  # noqa: N812
from safetensors import safe_open
from torch import Tensor, nn
from transformers import PreTrainedModel

from engine.checkpoints import store
from engine.config.layouts import COMPRESSED, Fp8Scheme, fp8
from engine.config.methods import Fp8
from engine.protocol.loading import Stage
from engine.shape import roles
from engine.shape.weight_files import weight_files
from engine.worker.checkpoints.checkpoint import Checkpoint
from engine.worker.checkpoints.placement import Placement, on_host
from engine.worker.host import freeing

STAGE: Stage = "quantize"
E4M3 = torch.float8_e4m3fn
LARGEST = torch.finfo(E4M3).max  # 448
CAPABILITY = (8, 9)
"""The least of GPUs that multiply FP8: Ada, Hopper and later."""
ALIGNED = 16  # rows and columns that scaled_mm takes
STATIC = "activations are scaled by the token: the scales that the checkpoint has for them are not used"
_IN_A_LAYER = re.compile(r"\.\d+\.")
_SCALE = ".weight_scale"


def load(method: Fp8, checkpoint: Checkpoint, placement: Placement) -> PreTrainedModel:
    """The model with the matrices of its layers in FP8; the store's checkpoint as it was written."""
    if checkpoint.path.parent == store.folder() and checkpoint.stored_quantization:
        return load_stored(checkpoint, placement)
    checkpoint.require_full_precision()
    return quantized(checkpoint, placement)


def quantized(checkpoint: Checkpoint, placement: Placement) -> PreTrainedModel:
    """A checkpoint in full precision, rounded matrix by matrix on its device."""
    model = checkpoint.model(_first(placement))
    for name in _matrices(model):
        layer = model.get_submodule(name)
        weight, scale = rounded(layer.weight.detach().to(_device(layer, placement)))
        _replace(model, name, Fp8Linear(weight, scale, layer.bias, multiplies(placement)))
    return _finished(model, placement)


def load_stored(checkpoint: Checkpoint, placement: Placement) -> PreTrainedModel:
    """compressed-tensors' FP8 as it is stored: e4m3 values are exact in every dtype that is read into."""
    scheme = fp8(checkpoint.stored_quantization) or Fp8Scheme(True, False)
    plain = replace(checkpoint)
    vars(plain)["config"] = config = copy.deepcopy(checkpoint.config)  # where a cached_property keeps it
    del config.quantization_config
    model = plain.model(_first(placement))
    scales = _scales(checkpoint.path)
    for name, scale in scales.items():
        layer = model.get_submodule(name)
        weight, device = layer.weight.detach(), _device(layer, placement)
        rows = scale.float().flatten().expand(len(weight)).clone()
        computes = scheme.rounds_activations and multiplies(placement)
        held = Fp8Linear(weight.to(device).to(E4M3), rows.to(device), layer.bias, computes)
        _replace(model, name, held)
    model.unread_tensors = [name for name in getattr(model, "unread_tensors", ()) if not _is_scale(name)]
    model.reading_notes = (STATIC,) if scheme.has_static_scales else ()
    return _finished(model, placement)


def save(model: PreTrainedModel, into: Path) -> None:
    """As a folder of compressed-tensors' scheme FP8_DYNAMIC, which vLLM and transformers load."""
    model.save_pretrained(into)
    file = into / "config.json"
    config = json.loads(file.read_text()) | {"quantization_config": _config(model)}
    file.write_text(json.dumps(config, indent=2))


def rounded(weight: Tensor) -> tuple[Tensor, Tensor]:
    """e4m3 [rows, columns] and float32 scales [rows], by the largest weight of each row."""
    largest = weight.float().abs().amax(-1)
    scale = torch.where(largest > 0, largest, 1.0) / LARGEST
    values = (weight.float() / scale[:, None]).clamp(-LARGEST, LARGEST)
    return values.to(E4M3), scale


def multiplies(placement: Placement) -> bool:
    """Whether the device multiplies FP8 itself, and torch (from 2.10 on) lets it."""
    if placement.device.type != "cuda" or torch.version.cuda is None or not hasattr(F, "scaled_mm"):
        return False
    return torch.cuda.get_device_capability(placement.device) >= CAPABILITY


class Fp8Linear(nn.Module):
    """y = x Wᵀ + b with W = e4m3 · scale of its row; [..., in_features] → [..., out_features]."""

    def __init__(self, weight: Tensor, scale: Tensor, bias: Tensor | None, computes: bool) -> None:
        super().__init__()
        self.out_features, self.in_features = weight.shape
        self.weight = nn.Parameter(weight, requires_grad=False)
        self.bias = bias if bias is None else nn.Parameter(bias.detach(), requires_grad=False)
        self.register_buffer("weight_scale", scale[:, None])  # [rows, 1], as the folder has it
        self.computes = computes and not (weight.shape[0] % ALIGNED or weight.shape[1] % ALIGNED)

    @property
    def kernel_name(self) -> str:
        """The kernel, as the user sees it."""
        return "scaled_mm rowwise" if self.computes else "Fp8Linear, dequantized"

    def forward(self, x: Tensor) -> Tensor:
        """In FP8 where the GPU does; else with exact weights in x's dtype, scaled afterwards."""
        return self._in_fp8(x) if self.computes else self._dequantized(x)

    def _dequantized(self, x: Tensor) -> Tensor:
        scale: Tensor = self.weight_scale
        y = (F.linear(x, self.weight.to(x.dtype)) * scale.flatten()).to(x.dtype)
        return y if self.bias is None else y + self.bias

    def _in_fp8(self, x: Tensor) -> Tensor:
        tokens, scales = rounded(x.reshape(-1, self.in_features))  # [tokens, columns], [tokens]
        weight_scale: Tensor = self.weight_scale
        y = F.scaled_mm(
            tokens,
            self.weight.t(),
            scales[:, None],
            F.ScalingType.RowWise,
            weight_scale.t(),
            F.ScalingType.RowWise,
            output_dtype=torch.bfloat16,
        )
        y = y.to(x.dtype).view(*x.shape[:-1], self.out_features)
        return y if self.bias is None else y + self.bias


def _matrices(model: PreTrainedModel) -> list[str]:
    """The plain linear layers inside the model's layers, but for a mixture's routers."""
    return [
        name
        for name, module in model.named_modules()
        if type(module) is nn.Linear and _IN_A_LAYER.search(name) and not roles.is_router(name)
    ]


def _first(placement: Placement) -> Placement:
    """Where a model is read: on the host, so that a GPU never holds it in full precision."""
    if placement.name == "split":
        return placement
    return on_host(placement.dtype)


def _device(layer: nn.Module, placement: Placement) -> torch.device:
    return layer.weight.device if placement.name == "split" else placement.device


def _replace(model: PreTrainedModel, name: str, held: Fp8Linear) -> None:
    parent, _, own = name.rpartition(".")
    old = model.get_submodule(name)
    freeing.forget([old.weight.detach()])
    setattr(model.get_submodule(parent), own, held)
    old._parameters.clear()


def _finished(model: PreTrainedModel, placement: Placement) -> PreTrainedModel:
    """On its device; its config says, as transformers' quantizers have it say, that layers must be called.

    Some models (Jamba) multiply with a layer's weight themselves unless it does. It is not saved.
    """
    for part in model.modules():
        if hasattr(part, "config"):
            part.config._is_quantized = True
    return model if placement.name == "split" else model.to(placement.device)


def _scales(folder: Path) -> dict[str, Tensor]:
    """The scales of every matrix in FP8, by the matrix."""
    found: dict[str, Tensor] = {}
    for file in weight_files(folder):
        with safe_open(file, framework="pt") as content:
            names = [name for name in content.keys() if name.endswith(_SCALE)]  # noqa: SIM118
            found |= {name.removesuffix(_SCALE): content.get_tensor(name) for name in names}
    return found


def _is_scale(name: str) -> bool:
    return name.endswith((_SCALE, ".input_scale"))


def _config(model: PreTrainedModel) -> dict[str, object]:
    held = {name for name, module in model.named_modules() if isinstance(module, Fp8Linear)}
    left = [name for name, module in model.named_modules() if type(module) is nn.Linear and name not in held]
    shared = {"num_bits": 8, "type": "float", "symmetric": True}
    return {
        "quant_method": COMPRESSED,
        "format": "float-quantized",
        "quantization_status": "compressed",
        "ignore": left,
        "config_groups": {
            "group_0": {
                "targets": ["Linear"],
                "weights": shared | {"strategy": "channel", "dynamic": False},
                "input_activations": shared | {"strategy": "token", "dynamic": True},
            }
        },
    }
