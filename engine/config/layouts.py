"""How a packed checkpoint's weights are laid out, and which CPU kernel multiplies with them.

Owns the layouts' names and the CPU's table, so that a plan knows what a worker will hold. Knows no torch.
Names of kernels are GPTQModel's backends. Measured on CPUs: ATen's int4 kernel is the fastest at 4 bits; the
automatic choice for 8 bits unpacks every weight for every matmul.
"""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass

AUTO_ROUND = "auto-round"
COMPRESSED, PACK_QUANTIZED = "compressed-tensors", "pack-quantized"
PACKED = ("gptq", "awq")  # the quantization methods whose layouts these kernels read
_INT4_GROUPS = (-1, 32, 64, 128)  # what torch's int4 matmul takes on a CPU
_ATEN_DTYPES = ("float16", "bfloat16")
INT4_BITS = (2, 3, 4)  # what is held in four bits by the engine's own steps


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
class Fp8Scheme:
    """FP8 weights, as a checkpoint's quantization_config says."""

    rounds_activations: bool
    has_static_scales: bool
    """Of activations, from a calibration."""


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


def auto_round(stored: Mapping[str, object]) -> dict[str, object] | None:
    """AutoRound's settings as GPTQ's or AWQ's, whose words it packs; None for other words, and mixed bits.

    Its zero points in GPTQ's words are read where they are symmetric.
    """
    packing = str(stored.get("packing_format")).removeprefix("auto_round:")
    if str(stored.get("quant_method")).lower() != AUTO_ROUND or packing not in {"auto_gptq", "auto_awq"}:
        return None
    bits, is_sym = stored.get("bits"), bool(stored.get("sym", True))
    extra = stored.get("extra_config") or {}
    if not isinstance(bits, int) or not isinstance(extra, dict) or (packing == "auto_gptq" and not is_sym):
        return None
    left = [name for name, said in extra.items() if isinstance(said, dict) and said.get("bits", bits) == 16]
    if len(left) < len(extra) or (left and packing == "auto_awq"):
        return None
    shared = {"bits": bits, "group_size": stored.get("group_size", -1), "made_by": AUTO_ROUND}
    if packing == "auto_awq":
        return {"quant_method": "awq", "version": "gemm", "zero_point": not is_sym, **shared}
    without: dict[str, object] = {f"-:^{re.escape(name)}$": {} for name in left}
    known = {"quant_method": "gptq", "checkpoint_format": "gptq", "sym": True, "desc_act": False}
    return {**known, **shared, "dynamic": without}


def compressed(stored: Mapping[str, object]) -> Layout | None:
    """compressed-tensors' W4A16 and W8A16 as the layout of GPTQ with the same integers; None for others.

    Only where all groups are alike and activations stay as they are.
    """
    groups = stored.get("config_groups")
    schemes = list(groups.values()) if isinstance(groups, dict) else []
    usual = str(stored.get("format"))
    found = {_compressed(scheme, usual) if isinstance(scheme, dict) else None for scheme in schemes}
    return found.pop() if len(found) == 1 else None


def _compressed(scheme: Mapping[str, object], usual_format: str) -> Layout | None:
    weights = scheme.get("weights")
    if not isinstance(weights, dict) or scheme.get("input_activations") or scheme.get("output_activations"):
        return None
    if str(scheme.get("format") or usual_format) != PACK_QUANTIZED or weights.get("type") != "int":
        return None
    bits, size = weights.get("num_bits"), weights.get("group_size")
    in_rows = weights.get("strategy") == "channel"
    if bits not in {4, 8} or not (in_rows or (weights.get("strategy") == "group" and isinstance(size, int))):
        return None
    return Layout(
        method="gptq",
        bits=int(str(bits)),
        group_size=-1 if in_rows else int(str(size)),
        sym=bool(weights.get("symmetric", True)),
        desc_act=str(weights.get("actorder")).lower() in {"group", "dynamic"},
    )


def fp8(stored: Mapping[str, object]) -> Fp8Scheme | None:
    """compressed-tensors' FP8 with a scale a row or a matrix; None for others, such as blocks of 128."""
    groups = stored.get("config_groups")
    if str(stored.get("quant_method")).lower() != COMPRESSED or not isinstance(groups, dict) or not groups:
        return None
    found = {_fp8(scheme) if isinstance(scheme, dict) else None for scheme in groups.values()}
    return found.pop() if len(found) == 1 else None


def _fp8(scheme: Mapping[str, object]) -> Fp8Scheme | None:
    weights, inputs = scheme.get("weights"), scheme.get("input_activations")
    if not isinstance(weights, dict) or scheme.get("output_activations"):
        return None
    is_fp8 = weights.get("type") == "float" and weights.get("num_bits") == 8
    if not is_fp8 or weights.get("strategy") not in {"channel", "tensor"}:
        return None
    return Fp8Scheme(bool(inputs), isinstance(inputs, dict) and not inputs.get("dynamic"))


def fits_int4(layout: Layout) -> bool:
    """Whether the compiled step can hold weights that are packed like this: in the plain order."""
    return layout.bits in INT4_BITS and not layout.desc_act


def on_cpu(layout: Layout, dtype: str, *, is_compiled: bool = False) -> Kernel:
    """The fastest kernel for a CPU that needs no compiling; `dtype` is such as `bfloat16`.

    Where it `is_compiled` the step reads what is laid out as in the checkpoint, if ATen has no kernel for it.
    """
    name, bits = layout.method, layout.bits
    if bits == 4 and layout.group_size in _INT4_GROUPS:
        on_aten = layout.group_size != -1 and dtype in _ATEN_DTYPES
        if on_aten or not is_compiled:
            return Kernel(f"{name}_torch_aten" if on_aten else f"{name}_torch_fused")
    if not is_compiled and (bits in {4, 8} or (bits == 2 and name == "gptq")):
        packing = "whole rows" if layout.group_size == -1 else f"groups of {layout.group_size}"
        why = f"CPUs have no kernel for {bits} bits in {packing}"
        if bits == 8 and layout.group_size == -1:
            why = "the kernel makes each row's scale anew, of its largest weight"
        return Kernel(f"{name}_torch_int8", (f"rounded once more, to 8 bits and one scale a row: {why}",))
    note = f"CPUs have no {bits}-bit kernel: every weight is unpacked for every matmul, which is slow"
    return Kernel(f"{name}_torch", (note,))
