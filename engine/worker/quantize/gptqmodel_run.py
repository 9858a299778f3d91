"""Quantizing with GPTQModel: its names for a method's options, its source model, and the run itself.

Knows what each call needs to stay quiet and within its folder; the package itself is `gptqmodel_api`'s.
"""

import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import torch

from engine.config.methods import Awq, Checkpointed, Gptq, Rtn
from engine.config.record import ModuleError
from engine.worker.checkpoints import completeness
from engine.worker.checkpoints.checkpoint import Checkpoint
from engine.worker.checkpoints.placement import Placement
from engine.worker.methods.gptqmodel_api import package, same_attention
from engine.worker.quantize import awq_clip
from engine.worker.quantize.progress import LayerProgress
from engine.worker.replaced import replaced

_NUMBER = re.compile(r"-?\d+(?:\.\d+)?(?:e-?\d+)?")


def config(method: Checkpointed, device: torch.device) -> Any:
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


def source(checkpoint: Checkpoint, method: Checkpointed, placement: Placement) -> Any:
    """The full-precision model, on the CPU, ready to be quantized on the placement's device."""
    gptqmodel = package()
    with completeness.required(checkpoint.name), same_attention():
        return gptqmodel.GPTQModel.load(
            str(checkpoint.path),
            config(method, placement.device),
            dtype=placement.dtype,
            trust_remote_code=checkpoint.trust_remote_code,
        )


def quantize(
    model: Any, method: Checkpointed, samples: Sequence[Sequence[int]], progress: LayerProgress, logs: Path
) -> tuple[ModuleError, ...]:
    """Quantize `source`'s model in place, with calibration samples of token ids; what each layer lost.

    `logs` is a folder for GPTQModel's own log files, which otherwise go to the current folder.
    """
    from gptqmodel.looper import loop_processor

    loop_processor._PROJECT_LOG_DIR = logs
    model.layer_callback = model.subset_callback = progress
    model.prepare_dataset = partial(
        model.prepare_dataset, calibration_data_min_length=0
    )  # keep short samples
    backend = package().BACKEND.AWQ_TORCH if isinstance(method, Awq) else package().BACKEND.AUTO
    with awq_clip.used(), _each_matrix_once():
        log = model.quantize([list(sample) for sample in samples] or None, batch_size=1, backend=backend)
    package().DEVICE_THREAD_POOL.wait()  # for the last lines of its logs
    return tuple(error for rows in log.values() for row in rows if (error := _error(row)))


@contextmanager
def _each_matrix_once() -> Iterator[None]:
    """GPTQModel 7.6 lists a shared expert's matrices twice, and rounding to nearest fails at the second."""
    from gptqmodel.looper.weight_only_looper import WeightOnlyLooper

    rounded = WeightOnlyLooper._quantize_subset_modules

    def once(looper: Any, modules: Sequence[Any]) -> Any:
        return rounded(looper, list({module.full_name: module for module in modules}.values()))

    with replaced(WeightOnlyLooper, "_quantize_subset_modules", once):
        yield


def _error(row: dict[str, Any]) -> ModuleError | None:
    """A row of GPTQModel's log, whose loss is text such as `0.0017` or `rtn: 0.0017`."""
    numbers = _NUMBER.findall(str(row.get("loss", "")))
    if not numbers:
        return None
    return ModuleError(layer=int(row["layer"]), module=str(row["module"]), loss=float(numbers[-1]))
