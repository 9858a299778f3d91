"""GPTQModel: the package, and quantized checkpoints loaded with it. Making one is `quantize/gptqmodel_run`'s.

Owns the package's quirks: its environment, its noise, its choice of kernels. Imported only where a
method needs it: it takes seconds to import and patches transformers on the way.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import partial
from typing import TYPE_CHECKING, Any

import torch
from accelerate.hooks import remove_hook_from_module
from transformers import GenerationConfig, PreTrainedModel

from engine.config.layouts import PACKED, layout
from engine.config.methods import Checkpointed
from engine.machine import packages
from engine.protocol.loading import Stage
from engine.worker.checkpoints import completeness, foreign, stored_tensors, w4a16
from engine.worker.failures import first_line
from engine.worker.methods import kernels
from engine.worker.replaced import replaced

if TYPE_CHECKING:
    from engine.worker.checkpoints.checkpoint import Checkpoint
    from engine.worker.checkpoints.placement import Placement

STAGE: Stage = "read"
_FEWEST_WORKERS, _MOST_WORKERS = 2, 12  # below two, its thread pool refuses to start


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


def load(method: Checkpointed, checkpoint: Checkpoint, placement: Placement) -> PreTrainedModel:
    """RTN, GPTQ, AWQ or AutoRound, from a checkpoint, in GPTQ's format or compressed-tensors'.

    What has no layout of GPTQ's is unpacked by transformers: GPTQModel would leave experts as they were made.
    """
    if str(checkpoint.stored_quantization.get("quant_method")) in PACKED:
        return load_quantized(checkpoint, placement)
    with foreign.readable(checkpoint) as view:
        if str(view.stored_quantization.get("quant_method")) in PACKED:
            return load_quantized(view, placement)
        model = view.model(placement)
        model.reading_notes = (foreign.UNPACKED,)
        return model


def load_quantized(checkpoint: Checkpoint, placement: Placement) -> PreTrainedModel:
    """A quantized folder with the fastest kernel that supports its layout, this device and this dtype.

    LoadError where its files leave a part of the model empty, and where no kernel fits.
    """
    refusals = list[Exception]()
    for kernel in kernels.of_checkpoint(checkpoint, placement):
        try:
            model = _loaded(checkpoint, placement, kernel.backend)
        except (ImportError, NotImplementedError, ValueError) as error:  # the kernel's, or the folder's own
            refusals.append(error)
            continue
        model.kernel_notes = (
            *(f"a faster kernel could not be used: {first_line(each)}" for each in refusals),
            *kernel.notes,
        )
        return model
    raise refusals[0]


def _loaded(checkpoint: Checkpoint, placement: Placement, backend: str) -> PreTrainedModel:
    gptqmodel, folder = package(), checkpoint.path
    if placement.device.type == "cpu" or kernels.is_own(checkpoint, placement):
        # Its slow kernels would be compiled, for minutes, and for nothing.
        torch._dynamo.config.disable = True
    with _reading(checkpoint), same_attention():
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


@contextmanager
def _reading(checkpoint: Checkpoint) -> Iterator[None]:
    """Within it accelerate reads the whole folder or raises; compressed-tensors' as if it were GPTQ's."""
    name, folder, stored = checkpoint.name, checkpoint.path, checkpoint.stored_quantization
    if w4a16.ORIGINAL not in stored:
        with completeness.required_of_accelerate(name, folder):
            yield
        return
    from gptqmodel.utils import model

    found = layout(stored)
    renamed = partial(w4a16.renamed, bits=found.bits)
    shapes = {key: tensor.shape for key, tensor in stored_tensors.tensors(folder).items()}
    with (
        completeness.required_of_accelerate(name, folder, renamed=renamed),
        w4a16.read_as_gptq(folder, found),
        replaced(model, "_checkpoint_tensor_keys", lambda *_, **__: set(renamed(shapes))),
    ):
        yield


def notes(model: PreTrainedModel) -> tuple[str, ...]:
    """What the user should know of the kernel in use; none where the engine's step has its weights."""
    is_in_use = any(
        hasattr(module, held) for module in model.modules() for held in ("qweight", "int8_module")
    )
    return tuple(getattr(model, "kernel_notes", ())) if is_in_use else ()


def without_hooks(model: PreTrainedModel) -> None:
    """Remove accelerate's hooks from a model on one device: they only cost time there.

    On GPUs GPTQModel puts one on each layer, even where there is one GPU (`simple_dispatch_model`).
    """
    devices = {parameter.device for parameter in model.parameters()}
    if len(devices) == 1:
        remove_hook_from_module(model, recurse=True)
        model.hf_device_map = {"": next(iter(devices))}


@contextmanager
def same_attention() -> Iterator[None]:
    """Attention as transformers chooses it, also where flash_attn is installed: a duel compares weights."""
    from gptqmodel.models import loader

    with replaced(loader, "is_flash_attn_2_available", lambda: False):
        yield
