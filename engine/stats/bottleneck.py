"""Why decoding is not faster: one line, where it reaches little of the device's bandwidth. Pure.

A step reads every weight and the whole cache once, so a copy's speed bounds the steps a second. Far below it
something else takes the time; what, is concluded from what is known of kernel and device, not measured.
"""

from msgspec import Struct

from engine.protocol.model import ModelInfo

ENOUGH = 0.4  # of the bandwidth; from there on only a faster memory or fewer bytes help much
STEP_OVERHEAD_S = 0.01  # Python and the launches of some hundred kernels, by order of magnitude
UNPACKING_ON_CPU = ("TorchLinear", "AwqTorchLinear", "Linear8bitLt")
UNPACKING_ON_GPU = ("TorchLinear", "AwqTorchLinear", "TritonV2Linear")
"""Kernels that dequantize the whole matrix before they multiply (GPTQModel 7.6, bitsandbytes 0.50)."""
WAITING_ON_GPU = ("Linear8bitLt",)
"""LLM.int8 asks in every layer whether there are outliers, and waits for the answer."""
OVERHEAD_ON_CPU = "matmuls too small to reach a copy's speed, and Python between them,"
OVERHEAD_ON_GPU = "Python and kernel launches"


class Reached(Struct, frozen=True, kw_only=True):
    """How much of the device's bandwidth decoding reached."""

    share: float
    """step bytes × steps a second, of the bytes a second of a copy (read plus written)."""
    bytes_s: float
    reason: str | None
    """What bounds it, and what to do; None from 40 % on."""

    @property
    def text(self) -> str:
        """Speed and share, as shown to the user."""
        return f"{self.bytes_s / 1e9:.1f} GB/s, {self.share:.0%} of what a copy reaches"


def reached(
    info: ModelInfo, step_bytes: int | None, steps_s: float | None, copy_bytes_s: float | None
) -> Reached | None:
    """How far an answer got; None where a part of the figure is missing."""
    if not (step_bytes and steps_s and copy_bytes_s):
        return None
    share = step_bytes * steps_s / copy_bytes_s
    reason = explain(info, step_bytes, copy_bytes_s, share)
    return Reached(share=share, bytes_s=step_bytes * steps_s, reason=reason)


def explain(info: ModelInfo, step_bytes: int, copy_bytes_s: float, share: float) -> str | None:
    """What probably bounds a model, and what to do; None from 40 % of the bandwidth on.

    `share` is that of the bandwidth: `step_bytes` × steps a second, over the bytes a second of a copy.
    """
    if share >= ENOUGH:
        return None
    return f"{share:.0%} of the bandwidth: {_cause(info, step_bytes / copy_bytes_s)}"


def _cause(info: ModelInfo, ideal_step_s: float) -> str:
    on_cpu = info.device == "cpu"
    if info.kernel in (UNPACKING_ON_CPU if on_cpu else UNPACKING_ON_GPU):
        return f"{info.kernel} unpacks weights before it multiplies; try another method or group size"
    if info.kernel in WAITING_ON_GPU and not on_cpu:
        return f"{info.kernel} waits for the GPU in every layer to look for outliers; `threshold: 0` does not"
    if ideal_step_s < STEP_OVERHEAD_S:
        step = f"a step moves data for only {ideal_step_s * 1000:.1f} ms"
        overhead = OVERHEAD_ON_CPU if on_cpu else OVERHEAD_ON_GPU
        return f"{step}, so {overhead} bound it; a larger model or batch reaches more"
    if on_cpu:
        return f"{info.kernel} computes more slowly than memory delivers weights; more free cores help"
    return f"{info.kernel} has no fast kernel for a single row of this shape; a larger batch reaches more"
