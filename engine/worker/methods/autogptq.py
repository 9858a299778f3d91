"""AutoGPTQ, the original code of GPTQ: the package, and checkpoints loaded and run with it.

Owns what the package needs to run without a GPU. Making a checkpoint is `quantize/autogptq_run`'s.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import torch
from transformers import AutoModelForCausalLM, PreTrainedModel

from engine.config.methods import Gptq
from engine.machine import packages
from engine.protocol.loading import Stage
from engine.worker.checkpoints import completeness
from engine.worker.methods.gptqmodel_api import without_hooks
from engine.worker.replaced import replaced

if TYPE_CHECKING:
    from engine.worker.checkpoints.checkpoint import Checkpoint
    from engine.worker.checkpoints.placement import Placement

STAGE: Stage = "read"
NAIVE = "AutoGPTQ has no CPU kernel: every weight is unpacked for every matmul, which is slow"
UNCOMPILED = "AutoGPTQ's CUDA kernels are not compiled: every weight is unpacked for every matmul"


def package() -> Any:
    """The package, imported quietly; LoadError where it is missing."""
    logging.getLogger("auto_gptq").setLevel(logging.ERROR)
    try:
        import auto_gptq
    except ImportError as error:
        raise packages.absent("auto-gptq") from error
    return auto_gptq


def load(method: Gptq, checkpoint: Checkpoint, placement: Placement) -> PreTrainedModel:
    """The checkpoint with AutoGPTQ's own modules, in the placement's dtype."""
    import accelerate.utils.modeling as accelerate_loader

    gptq = package()
    with (
        completeness.required_of_accelerate(checkpoint.name, checkpoint.path, accelerate_loader),
        _code_only_if(checkpoint.trust_remote_code),
    ):
        loaded = gptq.AutoGPTQForCausalLM.from_quantized(
            str(checkpoint.path),
            torch_dtype=placement.dtype,
            trust_remote_code=checkpoint.trust_remote_code,
            **placement.where,
        )
    model: PreTrainedModel = loaded.model
    without_hooks(model)
    for module in model.modules():
        if hasattr(module, "infeatures"):  # under the names that all others have
            module.in_features, module.out_features = module.infeatures, module.outfeatures
    if note := _kernel_note(placement.device):
        model.kernel_notes = (note,)
    return model.eval()


def _kernel_note(device: torch.device) -> str:
    from auto_gptq.utils import import_utils

    if device.type == "cpu":
        return NAIVE
    return "" if import_utils.AUTOGPTQ_CUDA_AVAILABLE else UNCOMPILED


@contextmanager
def _code_only_if(trusted: bool) -> Iterator[None]:
    """Within it AutoGPTQ, which runs a model's own code unasked, does so where that is allowed."""
    from auto_gptq.modeling import _base

    def from_config(config: Any, **options: Any) -> Any:
        return AutoModelForCausalLM.from_config(config, **options | {"trust_remote_code": trusted})

    with replaced(_base, "AutoModelForCausalLM", SimpleNamespace(from_config=from_config)):
        yield
