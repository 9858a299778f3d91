"""How a packed checkpoint's weights are laid out, and which CPU kernel multiplies with them.

Owns the layouts' names and the CPU's table, so that a plan knows what a worker will hold. Knows no torch.
Names of kernels are GPTQModel's backends. Measured on CPUs: ATen's int4 kernel is the fastest at 4 bits; the
automatic choice for 8 bits unpacks every weight for every matmul.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass

PACKED = ("gptq", "awq")  # the quantization methods whose layouts these kernels read
_INT4_GROUPS = (-1, 32, 64, 128)  # what torch's int4 matmul takes on a CPU
_ATEN_DTYPES = ("float16", "bfloat16")


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


def plain(stored: Mapping[str, object]) -> dict[str, object]:
    """A quantization_config with its method in lower case, and numbers that came as text as numbers."""
    found = {key: _plain(value) for key, value in stored.items()}
    named = {key: str(found[key]).lower() for key in ("quant_method", "checkpoint_format") if key in found}
    return found | named


def _plain(value: object) -> object:
    if not isinstance(value, str):
        return value
    try:
        found = json.loads(value.lower())  # Python's True too
    except (ValueError, RecursionError):
        return value
    return found if isinstance(found, int | float) else value


def layout(stored: Mapping[str, object]) -> Layout:
    """How weights are packed, from a quantization_config of GPTQModel, AutoGPTQ or AutoAWQ."""
    stored = plain(stored)
    return Layout(
        method="awq" if stored.get("quant_method") == "awq" else "gptq",
        bits=int(str(stored.get("bits") or 4)),
        group_size=int(str(stored.get("group_size") or -1)),
        sym=bool(stored.get("sym", not stored.get("zero_point", False))),
        desc_act=bool(stored.get("desc_act", False)),
    )


def on_cpu(layout: Layout, dtype: str) -> Kernel:
    """The fastest kernel for a CPU that needs no compiling; `dtype` is such as `bfloat16`."""
    name, bits = layout.method, layout.bits
    if bits == 4 and layout.group_size in _INT4_GROUPS:
        on_aten = layout.group_size != -1 and dtype in _ATEN_DTYPES
        return Kernel(f"{name}_torch_aten" if on_aten else f"{name}_torch_fused")
    if bits in {4, 8} or (bits == 2 and name == "gptq"):
        packing = f"{bits} bits in groups of {layout.group_size}"
        as_int8 = f"held as 8 bits in memory: CPUs have no kernel for {packing}"
        return Kernel(f"{name}_torch_int8", (as_int8,) if bits < 8 else ())
    note = f"CPUs have no {bits}-bit kernel: every weight is unpacked for every matmul, which is slow"
    return Kernel(f"{name}_torch", (note,))
