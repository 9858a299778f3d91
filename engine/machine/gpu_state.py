"""NVIDIA devices as NVML reports them now: clocks, power, temperature, what slows them, who uses them.

Knows no torch and no sessions. A figure the driver does not give is None.
"""

from collections.abc import Callable, Collection
from typing import Any, TypeVar

from msgspec import Struct

from engine.machine import nvidia

SLOWDOWNS = {  # nvml.h, nvmlClocksEventReasons; the others are no faults
    0x04: "power cap",
    0x08: "hardware slowdown",
    0x20: "thermal slowdown",
    0x40: "hardware thermal slowdown",
    0x80: "power brake",
}
Found = TypeVar("Found")


class GpuState(Struct, frozen=True, kw_only=True):
    """One device at one moment."""

    index: int
    name: str
    sm_mhz: int | None
    sm_max_mhz: int | None
    memory_mhz: int | None
    power_w: float | None
    power_cap_w: float | None
    temperature_c: int | None
    use_percent: int | None = None
    """Of the last moments in which it computed at all."""
    memory_used_bytes: int | None = None
    memory_total_bytes: int | None = None
    slowdowns: tuple[str, ...]
    """Why its clocks are below what the load asks for."""
    pids: tuple[int, ...]
    """Processes that compute on it; a container may show them under other ids, or none."""


def states() -> tuple[GpuState, ...]:
    """Every device that CUDA shows; none where there is no driver."""
    import pynvml

    try:
        with nvidia.driver() as nvml:
            return tuple(_state(nvml, device) for device in nvidia.devices(nvml))
    except pynvml.NVMLError:
        return ()


def slowdowns(mask: int) -> tuple[str, ...]:
    """The words for NVML's bits."""
    return tuple(word for bit, word in SLOWDOWNS.items() if mask & bit)


def foreign(state: GpuState, own: Collection[int], own_here: int) -> int:
    """Processes on a device that are not ours.

    Where none of our ids is among them a container hides ids: then those beyond our number on this device.
    """
    listed = set(state.pids)
    return len(listed - set(own)) if listed & set(own) else max(0, len(listed) - own_here)


def _state(nvml: Any, device: nvidia.Device) -> GpuState:
    handle = device.handle
    power_mw = _asked(lambda: nvml.nvmlDeviceGetPowerUsage(handle))
    cap_mw = _asked(lambda: nvml.nvmlDeviceGetEnforcedPowerLimit(handle))
    use = _asked(lambda: nvml.nvmlDeviceGetUtilizationRates(handle))
    memory = _asked(lambda: nvml.nvmlDeviceGetMemoryInfo(handle))
    processes = _asked(lambda: nvml.nvmlDeviceGetComputeRunningProcesses(handle)) or ()
    return GpuState(
        index=device.index,
        name=str(nvml.nvmlDeviceGetName(handle)),
        sm_mhz=_asked(lambda: nvml.nvmlDeviceGetClockInfo(handle, nvml.NVML_CLOCK_SM)),
        sm_max_mhz=_asked(lambda: nvml.nvmlDeviceGetMaxClockInfo(handle, nvml.NVML_CLOCK_SM)),
        memory_mhz=_asked(lambda: nvml.nvmlDeviceGetClockInfo(handle, nvml.NVML_CLOCK_MEM)),
        power_w=None if power_mw is None else power_mw / 1000,
        power_cap_w=None if cap_mw is None else cap_mw / 1000,
        temperature_c=_asked(lambda: nvml.nvmlDeviceGetTemperature(handle, nvml.NVML_TEMPERATURE_GPU)),
        use_percent=None if use is None else int(use.gpu),
        memory_used_bytes=None if memory is None else int(memory.total - memory.free),
        memory_total_bytes=None if memory is None else int(memory.total),
        slowdowns=slowdowns(_asked(lambda: nvml.nvmlDeviceGetCurrentClocksThrottleReasons(handle)) or 0),
        pids=tuple(process.pid for process in processes),
    )


def _asked(question: Callable[[], Found]) -> Found | None:
    """The driver's answer; None where it has none for this device."""
    import pynvml

    try:
        return question()
    except pynvml.NVMLError:
        return None
