"""GPTQModel, behind four calls: what a method's options are called there, quantize, save, load.

Owns the package's quirks: its environment, its noise, its choice of kernels. Imported only where a
method needs it: it takes seconds to import and patches transformers on the way.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from accelerate.hooks import remove_hook_from_module
from torch import nn
from transformers import GenerationConfig, PreTrainedModel
from transformers.pytorch_utils import Conv1D

from engine.config.layouts import layout
from engine.config.methods import Awq, Gptq, Packed, Rtn
from engine.config.record import ModuleError
from engine.machine import packages
from engine.protocol import Stage
from engine.worker.checkpoints import completeness
from engine.worker.failures import first_line
from engine.worker.methods import kernels
from engine.worker.quantize import awq_clip
from engine.worker.replaced import replaced

if TYPE_CHECKING:
    from engine.worker.checkpoints.checkpoint import Checkpoint
    from engine.worker.checkpoints.placement import Placement
    from engine.worker.quantize.progress import LayerProgress

STAGE: Stage = "read"
_FEWEST_WORKERS, _MOST_WORKERS = 2, 12  # below two, its thread pool refuses to start
_NUMBER = re.compile(r"-?\d+(?:\.\d+)?(?:e-?\d+)?")


def package() -> Any:
    """The package, imported quietly; LoadError where it is missing."""
    cores = os.cpu_count() or 1
    workers = min(_MOST_WORKERS, max(_FEWEST_WORKERS, (cores + 1) // 2))
    settings = {"GPTQMODEL_CPU_WORKERS": str(workers), "GPTQMODEL_OFFLINE": "1", "CI": "1"}
    for name, value in settings.items():  # CI: no animated bars
        os.environ.setdefault(name, value)
    try:
        from logbar import LogBar

        LogBar.shared().setLevel("ERROR")
        import gptqmodel
    except ImportError as error:
        raise packages.absent("gptqmodel") from error
    return gptqmodel


def config(method: Packed, device: torch.device) -> Any:
    """The method's options as GPTQModel's own configuration."""
    gptqmodel = package()
    shared = {
        "bits": method.bits,
        "group_size": method.group_size,
        "device": str(device),
        "offload_to_disk": False,
    }
    match method:
        case Rtn():
            return gptqmodel.RTNConfig(sym=method.sym, **shared)
        case Awq():
            return gptqmodel.AWQConfig(sym=not method.zero_point, format=method.version.lower(), **shared)
        case Gptq():
            options = {"sym": method.sym, "desc_act": method.desc_act, "damp_percent": method.damp_percent}
            in_groups = not method.desc_act and method.group_size != -1
            return gptqmodel.GPTQConfig(act_group_aware=in_groups, **options, **shared)


def source(checkpoint: Checkpoint, method: Packed, placement: Placement) -> Any:
    """The full-precision model, on the CPU, ready to be quantized on the placement's device."""
    gptqmodel = package()
    with completeness.required(checkpoint.name), _same_attention():
        return gptqmodel.GPTQModel.load(
            str(checkpoint.path),
            config(method, placement.device),
            dtype=placement.dtype,
            trust_remote_code=checkpoint.trust_remote_code,
        )


def quantize(
    model: Any, method: Packed, samples: Sequence[Sequence[int]], progress: LayerProgress, logs: Path
) -> tuple[ModuleError, ...]:
    """Quantize `source`'s model in place, with calibration samples of token ids; what each layer lost.

    `logs` is a folder for GPTQModel's own log files, which otherwise lie in the folder the user is in.
    """
    from gptqmodel.looper import loop_processor

    loop_processor._PROJECT_LOG_DIR = logs
    model.layer_callback = model.subset_callback = progress
    model.prepare_dataset = partial(
        model.prepare_dataset, calibration_data_min_length=0
    )  # keep short samples
    backend = package().BACKEND.AWQ_TORCH if isinstance(method, Awq) else package().BACKEND.AUTO
    with awq_clip.used():
        told = model.quantize([list(sample) for sample in samples] or None, batch_size=1, backend=backend)
    package().DEVICE_THREAD_POOL.wait()  # for the last lines of its logs
    return tuple(error for rows in told.values() for row in rows if (error := _error(row)))


def load(method: Packed, checkpoint: Checkpoint, placement: Placement) -> PreTrainedModel:
    """RTN, GPTQ or AWQ: a checkpoint that was made once. RTN is stored as GPTQ stores."""
    return load_packed(checkpoint, placement)


def load_packed(checkpoint: Checkpoint, placement: Placement) -> PreTrainedModel:
    """A quantized folder with the fastest kernel that takes its layout, this device and this dtype.

    LoadError where its files leave a part of the model empty, and where there is no kernel.
    """
    packed, refusals = layout(checkpoint.stored_quantization), list[Exception]()
    for kernel in kernels.candidates(packed, placement.device, placement.dtype):
        try:
            model = _loaded(checkpoint, placement, kernel.backend)
        except (ImportError, NotImplementedError, ValueError) as error:  # the kernel's, or the folder's own
            refusals.append(error)
            continue
        model.kernel_notes = (
            *(f"not by a faster kernel: {first_line(each)}" for each in refusals),
            *kernel.notes,
        )
        return model
    raise refusals[0]


def _loaded(checkpoint: Checkpoint, placement: Placement, backend: str) -> PreTrainedModel:
    gptqmodel, folder = package(), checkpoint.path
    if placement.device.type == "cpu":
        torch._dynamo.config.disable = True  # its slow kernels would be compiled, for minutes and with g++
    with completeness.required_of_accelerate(checkpoint.name, folder), _same_attention():
        loaded = gptqmodel.GPTQModel.load(
            str(folder),
            backend=gptqmodel.BACKEND(backend),
            dtype=placement.dtype,
            trust_remote_code=checkpoint.trust_remote_code,
            **placement.where,
        )
    model: PreTrainedModel = loaded.model
    with suppress(OSError):  # GPTQModel leaves the folder's own generation_config unread
        model.generation_config = GenerationConfig.from_pretrained(folder)
    without_hooks(model)
    return model.eval()


def notes(model: PreTrainedModel) -> tuple[str, ...]:
    """What the user should know of the kernel in use."""
    return tuple(getattr(model, "kernel_notes", ()))


def without_hooks(model: PreTrainedModel) -> None:
    """Take accelerate's hooks off a model on one device: they move nothing there, and cost at every layer.

    On GPUs GPTQModel hangs one on each layer, also where there is one GPU (`simple_dispatch_model`).
    """
    devices = {parameter.device for parameter in model.parameters()}
    if len(devices) == 1:
        remove_hook_from_module(model, recurse=True)
        model.hf_device_map = {"": next(iter(devices))}


@contextmanager
def _same_attention() -> Iterator[None]:
    """Attention as transformers chooses it, also where flash_attn is installed: a duel compares weights."""
    from gptqmodel.models import loader

    with replaced(loader, "is_flash_attn_2_available", lambda: False):
        yield


def unquantized(model: PreTrainedModel) -> str:
    """A line on the matrices that stay as they are, with what a name repeats in every layer said once."""
    kept: dict[str, None] = {}
    for name, module in model.named_modules():
        if type(module) in {nn.Linear, nn.Embedding, Conv1D}:
            kept[re.sub(r"\.\d+\.", ".*.", name)] = None
    dtype = str(model.dtype).removeprefix("torch.")
    return f"not quantized, in {dtype}: {', '.join(kept)}" if kept else "everything is quantized"


def _error(row: dict[str, Any]) -> ModuleError | None:
    """A row of GPTQModel's log, whose loss is text such as `0.0017` or `rtn: 0.0017`."""
    numbers = _NUMBER.findall(str(row.get("loss", "")))
    if not numbers:
        return None
    return ModuleError(layer=int(row["layer"]), module=str(row["module"]), loss=float(numbers[-1]))
