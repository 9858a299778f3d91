"""AutoAWQ, the original code of AWQ: the package, and checkpoints loaded and run with it.

Owns what the package needs to run without a GPU. Making a checkpoint is `quantize/autoawq_run`'s.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import torch
from torch import nn
from transformers import PreTrainedModel

from engine.config.methods import Awq
from engine.machine import packages
from engine.protocol.loading import Stage
from engine.worker.checkpoints import completeness
from engine.worker.methods.gptqmodel_api import without_hooks
from engine.worker.replaced import replaced

if TYPE_CHECKING:
    from engine.worker.checkpoints.checkpoint import Checkpoint
    from engine.worker.checkpoints.placement import Placement

STAGE: Stage = "read"
NAIVE = "AutoAWQ has no CPU kernel: every weight is unpacked for every matmul, in float16, which is slow"


def package(device: torch.device) -> Any:
    """The package, for this device; LoadError where it is missing."""
    try:
        with warnings.catch_warnings(action="ignore"):  # that it is no longer maintained
            import awq
            from awq.modules.linear import gemm
    except ImportError as error:
        raise packages.absent("autoawq") from error
    if device.type == "cpu":
        gemm.TRITON_AVAILABLE = False  # it is installed with torch, and has nothing for a CPU
    return awq


def load(method: Awq, checkpoint: Checkpoint, placement: Placement) -> PreTrainedModel:
    """The checkpoint with AutoAWQ's own modules; what is not quantized is in the placement's dtype."""
    import accelerate.big_modeling

    awq = package(placement.device)
    with (
        completeness.required_of_accelerate(checkpoint.name, checkpoint.path, accelerate.big_modeling),
        _any_device(placement.device),
    ):
        loaded = awq.AutoAWQForCausalLM.from_quantized(
            str(checkpoint.path),
            torch_dtype=torch.float16,  # its matrices know no other
            trust_remote_code=checkpoint.trust_remote_code,
            fuse_layers=False,  # fused layers keep a cache of their own
            max_seq_len=None,
            **placement.where,
        )
    model: PreTrainedModel = loaded.model
    _convert_rest(model, placement.dtype)
    without_hooks(model)
    if placement.device.type == "cpu":
        model.kernel_notes = (NAIVE,)
    return model.eval()


@contextmanager
def _any_device(device: torch.device) -> Iterator[None]:
    """Within it AutoAWQ loads onto a CPU too, where it asks for Intel's extension by the device's name."""
    from awq.models import base

    with replaced(base, "get_best_device", lambda: str(device) if device.type != "cpu" else "cpu:0"):
        yield


def _convert_rest(model: PreTrainedModel, dtype: torch.dtype) -> None:
    """Embeddings, norms and the output head in `dtype`; packed matrices convert what they read and return."""
    for module in model.modules():
        if hasattr(module, "qweight"):
            continue
        for parameter in module.parameters(recurse=False):
            _convert(parameter, dtype)
    model.config.torch_dtype = dtype


def _convert(parameter: nn.Parameter, dtype: torch.dtype) -> None:
    if parameter.dtype == torch.float16:
        parameter.data = parameter.data.to(dtype)
