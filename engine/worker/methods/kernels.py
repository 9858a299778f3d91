"""Which kernel runs quantized layers, by layout, device and dtype: chosen here, never by the library.

Owns whether a GPU's kernel can be compiled here, and the compiling. The tables are
`engine/config/layouts.py` (CPU) and `engine/config/gpu_kernels.py`. Knows nothing of models.
"""

import re
import shutil
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory

import torch

from engine import paths
from engine.config import gpu_kernels, runtime
from engine.config.gpu_kernels import GpuKernel
from engine.config.layouts import PACKED, Kernel, Layout, layout, on_cpu, plain
from engine.errors import LoadError
from engine.machine import hardware
from engine.plan import step as planned_step
from engine.plan.target import Target
from engine.protocol.loading import Staged
from engine.shape.architecture import architecture
from engine.worker import step
from engine.worker.checkpoints.checkpoint import Checkpoint
from engine.worker.checkpoints.placement import Placement
from engine.worker.progress import Report

__all__ = [
    "PACKED",
    "Kernel",
    "Layout",
    "candidates",
    "choose",
    "is_own",
    "layout",
    "of_checkpoint",
    "plain",
    "prepare",
]

HALF_ONLY = "the GPU kernels for quantized weights compute in 16 bits"
_COMPLAINT = re.compile(r"(?:\b(?:error|fatal)\b\s*:|\bfatal error|\bcannot find -l).*")
"""What gcc, nvcc, ptxas and ld begin their reasons with, among the commands that ninja repeats."""
FLOAT16_WOULD = "AWQ's faster Triton kernel computes in float16 only: `model.dtype: float16` selects it"


def prepare(checkpoint: Checkpoint, placement: Placement, report: Report) -> None:
    """Compile the kernel that a quantized checkpoint needs, with progress; others need none."""
    if checkpoint.kind != "folder" or checkpoint.stored_quantization.get("quant_method") not in PACKED:
        return
    stored, own = layout(checkpoint.stored_quantization), is_own(checkpoint, placement)
    next(iter(candidates(stored, placement.device, placement.dtype, report, is_own=own)))


def of_checkpoint(checkpoint: Checkpoint, placement: Placement) -> Iterator[Kernel]:
    """The candidates for a quantized checkpoint; the layout itself where the compiled step will hold it."""
    stored, own = layout(checkpoint.stored_quantization), is_own(checkpoint, placement)
    if own and placement.device.type == "cpu":
        yield on_cpu(stored, _name(placement.dtype), is_compiled=True)
        return
    yield from candidates(stored, placement.device, placement.dtype, is_own=own)


def is_own(checkpoint: Checkpoint, placement: Placement) -> bool:
    """Whether the compiled step will hold it in four bits: as planned, and where it can be compiled."""
    config, stored = checkpoint.config, layout(checkpoint.stored_quantization)
    has_own_code = checkpoint.trust_remote_code and getattr(config, "auto_map", None)
    if not placement.compiles or has_own_code or config.model_type not in runtime.NATIVE:
        return False
    target = Target(placement.name, _name(placement.dtype), hardware.cpu()[1])
    asked = architecture(config.to_dict()), stored, target
    return planned_step.holds_anew(*asked) or (planned_step.is_int4(*asked) and step.reads_int4())


def choose(layout: Layout, device: torch.device, dtype: torch.dtype) -> Kernel:
    """The first of the candidates."""
    return next(iter(candidates(layout, device, dtype)))


def candidates(
    layout: Layout,
    device: torch.device,
    dtype: torch.dtype,
    report: Report | None = None,
    *,
    is_own: bool = False,
) -> Iterator[Kernel]:
    """Kernels that support this layout here, the fastest first, each with its notes; LoadError for none.

    Where the engine's own will take over, first the one that keeps the checkpoint's layout, which they read.

    One that has to be compiled is compiled before it is yielded, with progress in `report`; where that fails
    the next one notes why it is not the faster one.
    """
    name = _name(dtype)
    if device.type == "cpu":
        yield on_cpu(layout, name)
        return
    found = gpu_kernels.candidates(layout, name, torch.cuda.get_device_capability(device))
    if not found:
        raise LoadError(f"no kernel for {_described(layout)} in {name} on this GPU", _hint(name))
    if is_own:
        found = tuple(sorted(found, key=lambda kernel: not kernel.backend.endswith("_torch")))
    notes: tuple[str, ...] = ()
    for kernel in found:
        if kernel.is_compiled_here and (why := cannot_compile() or _compiled(kernel, dtype, report)):
            notes = (f"without the Marlin kernel, which is faster: {why}",)
            continue
        yield Kernel(kernel.backend, (*notes, *_remarks(kernel, layout, name)))


def _name(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")


def cannot_compile() -> str:
    """Why CUDA sources cannot be compiled here, in words; empty where they can."""
    from torch.utils.cpp_extension import CUDA_HOME

    in_home = Path(CUDA_HOME) / "bin" / "nvcc" if CUDA_HOME else None
    has_nvcc = shutil.which("nvcc") is not None or (in_home is not None and in_home.is_file())
    needed = {
        "the CUDA compiler (nvcc)": has_nvcc,
        "a C++ compiler (g++)": any(shutil.which(name) for name in ("c++", "g++", "clang++")),
        "ninja": shutil.which("ninja") is not None,
    }
    missing = [name for name, is_there in needed.items() if not is_there]
    return f"it is compiled at load, and {' and '.join(missing)} cannot be found" if missing else ""


def _compiled(kernel: GpuKernel, dtype: torch.dtype, report: Report | None) -> str:
    if report is not None:
        report(Staged(stage="read", step="compile kernel"))
    return _compile_marlin(dtype)


@cache
def _compile_marlin(dtype: torch.dtype) -> str:
    """Compile it, or find it compiled; why that failed, in a line, or empty."""
    from gptqmodel.utils import marlin

    try:
        with linkable():
            if marlin.prewarm_marlin_extension(dtype):
                return ""
        said = marlin.marlin_runtime_error(dtype)
    except Exception as error:  # a compiler's message, a folder that cannot be written
        traceback.print_exc()  # into the log
        said = str(error)
    return f"it could not be compiled ({_reason(said)[:160]})"


@contextmanager
def linkable() -> Iterator[None]:
    """Within it a linker finds CUDA's runtime: the one that torch has loaded, where nvcc's folder has none.

    torch tells it of `lib64` next to nvcc alone; wheels have the library elsewhere, and not by that name.
    """
    loaded = _loaded_runtime()
    if not loaded:
        yield
        return
    with TemporaryDirectory() as folder:
        Path(folder, "libcudart.so").symlink_to(loaded)
        with paths.linked_from(folder):
            yield


def _loaded_runtime() -> str:
    """Where this process has libcudart from; empty without."""
    maps = Path("/proc/self/maps")
    lines = maps.read_text().splitlines() if maps.exists() else []
    return next((line.split(maxsplit=5)[5] for line in lines if "/libcudart.so" in line), "")


def _reason(said: str) -> str:
    """The first complaint of a compiler, or else the first line that is no heading."""
    if found := _COMPLAINT.search(said):
        return found[0].strip()
    lines = [line.strip() for line in said.splitlines() if line.strip()]
    return next((line for line in lines if not line.endswith(":")), "no reason given")


def _remarks(kernel: GpuKernel, layout: Layout, dtype: str) -> tuple[str, ...]:
    if kernel.backend == "awq_torch" and dtype != "float16" and layout.bits == 4:
        return (FLOAT16_WOULD,)
    return ()


def _described(layout: Layout) -> str:
    return f"{layout.method.upper()} weights of {layout.bits} bits in groups of {layout.group_size}"


def _hint(dtype: str) -> str:
    if dtype not in gpu_kernels.HALVES:
        return f"{HALF_ONLY}: `model.dtype: bfloat16` or `float16`"
    return "use `device: cpu`, or quantize the source with another group size"
