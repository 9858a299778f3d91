"""Whether a model on a GPU decodes with the engine's kernels: asked for, known, and checked at load.

Owns the check, matrix by matrix, and why a model was left out. Triton is imported where it is wanted only.
"""

import traceback
from collections.abc import Sequence
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary

import torch
from torch import nn
from transformers import PreTrainedModel

from engine.config import runtime
from engine.protocol import Staged
from engine.worker.failures import first_line
from engine.worker.host import freeing
from engine.worker.progress import Report
from engine.worker.step import llama, native

if TYPE_CHECKING:
    from engine.worker.step.cuda.triton_step import TritonStep

CLOSE = 0.02  # of the largest result: products with sums in another order, or inputs rounded elsewhere
DEVICES = ("cuda",)

failures: WeakKeyDictionary[PreTrainedModel, str] = WeakKeyDictionary()
"""Why a model that should have the step does not."""

_steps: "WeakKeyDictionary[PreTrainedModel, TritonStep]" = WeakKeyDictionary()


def is_wanted(model: PreTrainedModel) -> bool:
    """Whether the step is tried for this model."""
    return (
        model.device.type in DEVICES
        and runtime.compiles_on_gpu()
        and find_spec("triton") is not None
        and native.supports(model)
    )


def step_for(model: PreTrainedModel) -> "TritonStep | None":
    """The model's step, where `prepare` found that it has one."""
    return _steps.get(model)


@torch.inference_mode()
def prepare(model: PreTrainedModel, report: Report) -> bool:
    """Hold 2- to 4-bit weights as the kernels read them, compile, and compare every matrix with its layer.

    False, and a reason in `failures`, where the model keeps its own way.
    """
    report(Staged(stage="warm up", step="compile decode step"))
    try:
        from engine.worker.step.cuda.triton_step import TritonStep

        _repack(model)
        step = TritonStep.build(model)
        why = "" if step else "its weights are held in a way that the GPU kernels do not read"
        why = why or next((name for name, module in _linear(model) if not _agrees(module, model)), "")
    except Exception as error:
        traceback.print_exc()  # into the log
        step, why = None, first_line(error)
    if why or step is None:
        failures[model] = f"decoded without the engine's GPU kernels ({why})"
        return False
    _steps[model] = step
    return True


def _linear(model: PreTrainedModel) -> Sequence[tuple[str, nn.Module]]:
    """Every matrix that a step reads, with what to say where its kernel is wrong."""
    found = [
        (f"layer {index}, {name}", getattr(parent, name))
        for index, layer in enumerate(llama.layers_of(model))
        for parent, names in layer.shared_inputs()
        for name in names
    ]
    named = [*found, ("the output head", model.get_output_embeddings())]
    return [(f"other numbers in {name}", each) for name, each in named]


def _agrees(module: Any, model: PreTrainedModel) -> bool:
    """Whether the kernel gives about what the layer gives, for one row and for three."""
    from engine.worker.step.cuda import launch
    from engine.worker.step.cuda.layouts import read

    held = read(module)
    if held is None:
        return False
    for rows in (1, 3):
        x = torch.randn((rows, module.in_features), device=model.device).to(model.dtype)
        right = module(x[None])[0].float()
        difference = (launch.linear(x, (held,)).float() - right).abs().max()
        if not bool(difference <= CLOSE * right.abs().max()):  # NaN is not
            return False
    return True


def _repack(model: PreTrainedModel) -> None:
    from engine.worker.step.cuda.int4 import of_gptqmodel

    for layer in llama.layers_of(model):
        for parent, names in layer.shared_inputs():
            for name in names:
                if made := of_gptqmodel(getattr(parent, name)):
                    setattr(parent, name, made)
        freeing.trim()
