"""What devices do now, in a line each: use, memory, power, temperature, clock; CPU and RAM without GPUs.

Knows no torch and no screen. A figure that cannot be read is left out.
"""

from engine.machine import gpu_state, hardware
from engine.machine.gpu_state import GpuState
from engine.units import bytes_text

SAMPLE_S = 0.2  # in which the processor is watched


def lines() -> list[str]:
    """One a GPU; of the host where there is none."""
    return [gpu_text(state) for state in gpu_state.states()] or [host_text()]


def gpu_text(state: GpuState) -> str:
    """`cuda:0 H100  87 %  31.20 of 79.60 GiB  412 W  63 °C  1755 MHz`."""
    used, total = state.memory_used_bytes, state.memory_total_bytes
    parts = [
        f"cuda:{state.index} {state.name.removeprefix('NVIDIA ')}",
        "" if state.use_percent is None else f"{state.use_percent} %",
        "" if used is None or total is None else f"{bytes_text(used)} of {bytes_text(total)}",
        "" if state.power_w is None else f"{state.power_w:.0f} W",
        "" if state.temperature_c is None else f"{state.temperature_c} °C",
        "" if state.sm_mhz is None else f"{state.sm_mhz} MHz",
        ", ".join(state.slowdowns),
    ]
    return "  ".join(part for part in parts if part)


def host_text() -> str:
    """`cpu 37 %  RAM 5.10 GiB of 23.54 GiB`."""
    import psutil

    host = hardware.detect().host
    used = host.total_bytes - host.available_bytes
    return (
        f"cpu {psutil.cpu_percent(SAMPLE_S):.0f} %  RAM {bytes_text(used)} of {bytes_text(host.total_bytes)}"
    )
