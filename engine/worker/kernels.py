"""Which kernel multiplies with packed weights, by layout, device and dtype: chosen here, never automatically.

Owns the choice on GPUs; the CPU's table is `engine/packing.py`. Knows nothing of models.
"""

from collections.abc import Mapping

import torch

from engine.packing import PACKED, Kernel, Layout, layout, on_cpu, plain
from engine.worker.checkpoint import Checkpoint
from engine.worker.placement import Placement

__all__ = ["PACKED", "Kernel", "Layout", "choose", "layout", "notes", "plain", "suited"]


def notes(checkpoint: Checkpoint, placement: Placement) -> tuple[str, ...]:
    """What the user should know of the kernel that a packed checkpoint will get."""
    if checkpoint.kind != "folder" or checkpoint.stored_quantization.get("quant_method") not in PACKED:
        return ()
    return suited(checkpoint.stored_quantization, placement).notes


def suited(stored: Mapping[str, object], placement: Placement) -> Kernel:
    """The kernel for a folder with this quantization_config."""
    return choose(layout(stored), placement.device, placement.dtype)


def choose(layout: Layout, device: torch.device, dtype: torch.dtype) -> Kernel:
    """The fastest kernel that runs here without being compiled for minutes."""
    if device.type == "cpu":
        return on_cpu(layout, str(dtype).removeprefix("torch."))
    return _on_gpu(layout)


def _on_gpu(layout: Layout) -> Kernel:
    from torch.utils.cpp_extension import CUDA_HOME

    if layout.bits in {4, 8} and CUDA_HOME is not None and not layout.desc_act:
        return Kernel(f"{layout.method}_marlin")
    backend = "gptq_triton" if layout.method == "gptq" else "awq_gemm_triton"
    missing = "no CUDA compiler (nvcc) here, which the faster Marlin kernel needs"
    return Kernel(backend, (missing,) if CUDA_HOME is None else ())
