"""Which kernel multiplies with packed weights, by layout, device and dtype: chosen here, never automatically.

Owns the table. Names are GPTQModel's backends; knows nothing of models. Measured on CPUs: ATen's int4 kernel
is the fastest at 4 bits; the automatic choice for 8 bits unpacks every weight for every product.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import torch

from engine.worker.checkpoint import Checkpoint
from engine.worker.placement import Placement

PACKED = ("gptq", "awq")  # the quantization methods whose layouts these kernels read
_INT4_GROUPS = (-1, 32, 64, 128)  # what torch's int4 product takes on a CPU
_ATEN_DTYPES = (torch.float16, torch.bfloat16)


@dataclass(frozen=True, slots=True)
class Layout:
    """How weights are packed, as a checkpoint's quantization_config says."""

    method: str
    """`gptq` (which RTN shares) or `awq`."""
    bits: int
    group_size: int
    sym: bool = True
    desc_act: bool = False


@dataclass(frozen=True, slots=True)
class Kernel:
    """A backend of GPTQModel, and what the user should know of it."""

    backend: str
    notes: tuple[str, ...] = ()


def notes(checkpoint: Checkpoint, placement: Placement) -> tuple[str, ...]:
    """What the user should know of the kernel that a packed checkpoint will get."""
    if checkpoint.kind != "folder" or checkpoint.stored_quantization.get("quant_method") not in PACKED:
        return ()
    return suited(checkpoint.stored_quantization, placement).notes


def suited(stored: Mapping[str, object], placement: Placement) -> Kernel:
    """The kernel for a folder with this quantization_config."""
    return choose(layout(stored), placement.device, placement.dtype)


def layout(stored: Mapping[str, object]) -> Layout:
    """How weights are packed, from a quantization_config of GPTQModel, AutoGPTQ or AutoAWQ."""
    return Layout(
        method="awq" if stored.get("quant_method") == "awq" else "gptq",
        bits=int(str(stored.get("bits") or 4)),
        group_size=int(str(stored.get("group_size") or -1)),
        sym=bool(stored.get("sym", not stored.get("zero_point", False))),
        desc_act=bool(stored.get("desc_act", False)),
    )


def choose(layout: Layout, device: torch.device, dtype: torch.dtype) -> Kernel:
    """The fastest kernel that runs here without being compiled for minutes."""
    if device.type == "cpu":
        return _on_cpu(layout, dtype)
    return _on_gpu(layout)


def _on_cpu(layout: Layout, dtype: torch.dtype) -> Kernel:
    name, bits = layout.method, layout.bits
    if bits == 4 and layout.group_size in _INT4_GROUPS:
        suits_aten = layout.group_size != -1 and dtype in _ATEN_DTYPES
        return Kernel(f"{name}_torch_aten" if suits_aten else f"{name}_torch_fused")
    if bits in {4, 8} or (bits == 2 and name == "gptq"):
        packing = f"{bits} bits in groups of {layout.group_size}"
        widened = f"held as 8 bits in memory: CPUs have no kernel for {packing}"
        return Kernel(f"{name}_torch_int8", (widened,) if bits < 8 else ())
    note = f"CPUs have no {bits}-bit kernel: every weight is unpacked for every product, which is slow"
    return Kernel(f"{name}_torch", (note,))


def _on_gpu(layout: Layout) -> Kernel:
    from torch.utils.cpp_extension import CUDA_HOME

    if layout.bits in {4, 8} and CUDA_HOME is not None and not layout.desc_act:
        return Kernel(f"{layout.method}_marlin")
    backend = "gptq_triton" if layout.method == "gptq" else "awq_gemm_triton"
    missing = "no CUDA compiler (nvcc) here, which the faster Marlin kernel needs"
    return Kernel(backend, (missing,) if CUDA_HOME is None else ())
