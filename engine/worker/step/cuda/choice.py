"""Whether a model on a GPU decodes with the engine's kernels: asked for, known, and checked at load.

Owns the check, matrix by matrix, and why a model was left out. Triton is imported where it is wanted only.
"""

import shutil
import sys
import sysconfig
import traceback
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary

import torch
from torch import nn
from transformers import PreTrainedModel

from engine import paths
from engine.config import runtime
from engine.protocol.loading import Staged
from engine.worker.failures import first_line
from engine.worker.host import freeing
from engine.worker.progress import Report
from engine.worker.step import llama, native

if TYPE_CHECKING:
    from engine.worker.step.cuda.trial import Trial
    from engine.worker.step.cuda.triton_step import TritonStep

DEVICES = ("cuda",)

failures: WeakKeyDictionary[PreTrainedModel, str] = WeakKeyDictionary()
"""Why a model that should have the step does not."""
remarks: WeakKeyDictionary[PreTrainedModel, str] = WeakKeyDictionary()
"""What is slower than it should be in a model whose weights are held anew."""

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
    step, why = None, "its weights are held in a way that the GPU kernels do not read"
    if lacking := cannot_launch():
        failures[model] = f"decoded without the engine's GPU kernels ({lacking})"
        return False
    try:
        from engine.worker.step.cuda.trial import Trial
        from engine.worker.step.cuda.triton_step import TritonStep

        if _is_readable(model):
            places, trial = _linear(model), Trial(model.dtype)
            differing = next((what for what, parent, name in places if not _taken(parent, name, trial)), "")
            remarks[model] = trial.note
            freeing.trim()
            step = None if differing else TritonStep.build(model)
            why = f"other numbers in {differing}" if differing else why
    except Exception as error:
        traceback.print_exc()  # into the log
        step, why = None, first_line(error)
    if step is None:
        failures[model] = f"decoded without the engine's GPU kernels ({why})"
        return False
    _steps[model] = step
    return True


def cannot_launch() -> str:
    """What Triton makes its launchers with and does not find here; empty where it does.

    It calls a C compiler on a file that includes Python's headers (triton/runtime/build.py), and says no more
    than that the command failed.
    """
    needed = {
        "a C compiler (gcc)": any(shutil.which(name) for name in ("gcc", "clang")) or paths.c_compiler(),
        "Python's headers (Python.h)": (Path(sysconfig.get_path("include")) / "Python.h").is_file(),
    }
    missing = [name for name, is_there in needed.items() if not is_there]
    where = f"python{sys.version_info[0]}.{sys.version_info[1]}-dev"
    return f"{' and '.join(missing)} cannot be found: Debian's gcc and {where} have them" if missing else ""


def _linear(model: PreTrainedModel) -> Iterator[tuple[str, nn.Module, str]]:
    """Every matrix that a step reads: what to call it, the module that has it, and its name there."""
    for index, layer in enumerate(llama.layers_of(model)):
        for parent, names in layer.shared_inputs():
            yield from ((f"layer {index}, {name}", parent, name) for name in names)
    yield "the output head", model, "lm_head"


def _is_readable(model: PreTrainedModel) -> bool:
    """Whether every matrix has a known layout: else none is touched."""
    from engine.worker.step.cuda import int4, layouts

    found = [getattr(parent, name) for _, parent, name in _linear(model)]
    return all(int4.supports(module) or layouts.read(module) is not None for module in found)


def _taken(parent: nn.Module, name: str, trial: "Trial") -> bool:
    """Whether the kernel gives about what a layer gives, for one row and for three.

    A layer of 2 to 4 bits is then replaced, and never before: where a later one differs, those that were
    replaced still decode with their kernels.
    """
    from engine.worker.step.cuda import launch
    from engine.worker.step.cuda.int4 import of_gptqmodel
    from engine.worker.step.cuda.layouts import read
    from engine.worker.step.cuda.trial import is_close

    module: Any = getattr(parent, name)
    made = of_gptqmodel(module)
    held = read(made or module)
    if held is None:
        return False
    x, right = trial.asked(module, held.matrix.weights.device)
    if not all(is_close(launch.linear(x[:rows], (held,)), right[:rows]) for rows in (1, 3)):
        return False
    if made is not None:
        trial.equip(made, x, right)
        made.few_rows = lambda x: launch.linear(x, (held,))
        setattr(parent, name, made)
    return True
