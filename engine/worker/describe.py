"""What was loaded, as it really is: the `ModelInfo` of a model in memory.

Owns labels, counts, names and versions. Changes nothing.
"""

import hashlib
import json
import platform
from collections import Counter
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path
from typing import Literal

import torch
from torch import Tensor, nn
from transformers import PreTrainedConfig, PreTrainedModel, PreTrainedTokenizerBase

from engine.checkpoints import store
from engine.config.layouts import AUTO_ROUND, fp8
from engine.config.methods import SHORT_DTYPES, USUAL_GROUP_SIZE, BitsAndBytes, Stored
from engine.config.profile import Profile
from engine.protocol.model import ModelInfo
from engine.shape import context_window
from engine.worker import step
from engine.worker.checkpoints import w4a16
from engine.worker.checkpoints.checkpoint import Checkpoint
from engine.worker.checkpoints.placement import Placement
from engine.worker.host import memory
from engine.worker.methods.fp8 import Fp8Linear

PACKAGES = ("quantduel", "torch", "transformers", "bitsandbytes", "gptqmodel")


def describe(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    profile: Profile,
    checkpoint: Checkpoint,
    placement: Placement,
) -> ModelInfo:
    """Everything the user sees about the model except speeds."""
    return ModelInfo(
        label=label(profile, checkpoint, placement.dtype) + _unrounded(model) + profile.cache.badge,
        kernel=kernel(model),
        architecture=type(model).__name__,
        parameters=logical_parameters(model),
        context_length=context_length(model.config),
        step=step.kind(model, profile.cache.dtype),
        dtype=str(model.dtype).removeprefix("torch."),
        device=placement.name,
        device_name=device_name(placement.device),
        threads=torch.get_num_threads(),
        weights=memory.weights(model),
        tokenizer_sha256=vocabulary_sha256(tokenizer),
        has_chat_template=bool(tokenizer.chat_template),
        notes=(*checkpoint.notes, *placement.notes),
        versions=versions(),
    )


def label(profile: Profile, checkpoint: Checkpoint, dtype: torch.dtype) -> str:
    """The badge: the profile's method, or for `stored` the checkpoint's own."""
    name = str(dtype).removeprefix("torch.")
    if not isinstance(profile.quantization, Stored):
        return profile.quantization.label(name)
    stored = checkpoint.stored_quantization
    if not stored:
        return SHORT_DTYPES.get(name, name)
    how = str(stored.get("quant_method", "")).lower()
    if record := store.record(checkpoint.path):
        return record.recipe.method.label(name)
    if fp8(stored) and "dequantize" not in stored:
        return "fp8"
    if how == "bitsandbytes":
        return _bitsandbytes_label(stored)
    if stored.get("made_by") == AUTO_ROUND:
        how = "autoround"
    if w4a16.ORIGINAL in stored:
        how, stored = "w", stored | {"bits": f"{stored['bits']}a16"}
    return f"{how}{stored.get('bits', '')}" + _group_suffix(stored.get("group_size"))


def _unrounded(model: PreTrainedModel) -> str:
    """What a badge of FP8 needs where activations are not rounded."""
    held = [module for module in model.modules() if isinstance(module, Fp8Linear)]
    return "-w8a16" if held and not any(module.computes for module in held) else ""


def _group_suffix(size: object) -> str:
    return "" if size in {None, USUAL_GROUP_SIZE} else "-row" if size == -1 else f"-g{size}"


def _bitsandbytes_label(stored: dict[str, object]) -> str:
    if stored.get("load_in_8bit"):
        return BitsAndBytes(bits=8).label("")
    double = bool(stored.get("bnb_4bit_use_double_quant"))
    code_book: Literal["nf4", "fp4"] = "nf4" if stored.get("bnb_4bit_quant_type") == "nf4" else "fp4"
    return BitsAndBytes(quant_type=code_book, double_quant=double).label("")


def kernel(model: PreTrainedModel) -> str:
    """The class that runs most linear layers, the output head aside."""
    head = model.get_output_embeddings()
    names = Counter(_kernel(module) for module in _linear_like(model) if module is not head)
    return names.most_common(1)[0][0] if names else "Linear"


def _kernel(module: nn.Module) -> str:
    """As the user sees it: its class, or the kernel of a fused layer."""
    return str(getattr(module, "kernel_name", type(module).__name__))


def _linear_like(model: PreTrainedModel) -> Iterator[nn.Module]:
    for module in model.modules():
        if hasattr(module, "in_features") and hasattr(module, "out_features"):
            yield module


def logical_parameters(model: PreTrainedModel) -> int:
    """Weights as the architecture counts them: a quantized one by its logical shape, a shared one once."""
    packed = [module for module in _linear_like(model) if _is_packed(module)]
    counted = {id(tensor) for module in packed for tensor in _held(module)}
    plain = sum(tensor.numel() for tensor in model.parameters() if id(tensor) not in counted)
    return plain + sum(
        int(module.in_features) * int(module.out_features) + _biases(module) for module in packed
    )


def _held(module: nn.Module) -> Iterator[Tensor]:
    """The parameters that stand for its matrix: packed weights and their scales."""
    return (tensor for name, tensor in module.named_parameters(recurse=False) if name != "bias")


def _biases(module: nn.Module) -> int:
    """Those that are not parameters."""
    return int(getattr(module, "fused_biases", 0))


def _is_packed(module: nn.Module) -> bool:
    """Whether the weight's tensor has another shape than the matrix it stands for."""
    weight = getattr(module, "weight", None)
    return not isinstance(weight, nn.Parameter) or weight.numel() != module.in_features * module.out_features


def context_length(config: PreTrainedConfig) -> int:
    """The model's context window in tokens; 0 where its config sets no limit."""
    return context_window.of(config.get_text_config().to_dict())


def device_name(device: torch.device) -> str:
    """The vendor's name for it."""
    if device.type == "cuda":
        return str(torch.cuda.get_device_name(device))
    listing = Path("/proc/cpuinfo")
    lines = listing.read_text().splitlines() if listing.exists() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()


def vocabulary_sha256(tokenizer: PreTrainedTokenizerBase) -> str:
    """Of every token with its id, and of the merges where the tokenizer has some."""
    backend = getattr(tokenizer, "backend_tokenizer", None)
    merges = json.loads(backend.to_str())["model"].get("merges", []) if backend else []
    content = json.dumps([sorted(tokenizer.get_vocab().items(), key=lambda item: item[1]), merges])
    return hashlib.sha256(content.encode()).hexdigest()


def versions() -> dict[str, str]:
    """Of Python and of the packages that influence the result."""
    found = {"python": platform.python_version()}
    for name in PACKAGES:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return found
