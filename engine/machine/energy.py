"""Joules that devices have taken, by their own counters: NVML's for GPUs, RAPL's for processors.

Knows no torch. A counter is everybody's: it counts what other programs make the device do, too. Where there
is none, or it may not be read (RAPL is root's on most systems), there is no figure.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Literal

from engine.machine import nvidia

RAPL = Path("/sys/class/powercap")

Reading = tuple[float, ...]
"""Joules since whenever, one for each counter."""


class Meter:
    """Energy between two moments. Reading does not hold up the caller: a thread does it."""

    def __init__(self, read: Callable[[], Reading], ranges: Sequence[float]) -> None:
        self._read, self._ranges = read, ranges
        self._beside = ThreadPoolExecutor(1, "energy")
        self._begun: Future[Reading] | None = None

    def begin(self) -> None:
        """From now on."""
        self._begun = self._beside.submit(self._read)

    def joules(self) -> float | None:
        """Until now; None where a counter stopped answering, or nothing was begun."""
        if self._begun is None:
            return None
        try:
            begun, now = self._begun.result(), self._read()
        except Exception:  # a driver that went away: no figure is better than a wrong one
            return None
        steps = zip(begun, now, self._ranges, strict=True)
        return sum(end - start if end >= start else end - start + size for start, end, size in steps)


def meter(kind: Literal["cpu", "cuda"], root: Path = RAPL) -> Meter | None:
    """A meter of the GPUs that this process sees, or of the processors; None where there is no counter."""
    return _of_gpus() if kind == "cuda" else _of_processors(root)


def _of_gpus() -> Meter | None:
    import pynvml

    try:
        pynvml.nvmlInit()  # stays open: opening takes long on a machine with many GPUs
        handles = [device.handle for device in nvidia.devices(pynvml)]

        def read() -> Reading:
            return tuple(pynvml.nvmlDeviceGetTotalEnergyConsumption(handle) / 1000 for handle in handles)

        read()
    except pynvml.NVMLError:
        return None
    return Meter(read, [0.0] * len(handles)) if handles else None


def _of_processors(root: Path) -> Meter | None:
    zones = [zone for zone in sorted(root.glob("*-rapl:[0-9]*")) if zone.name.count(":") == 1]
    packages = [zone for zone in zones if _text(zone / "name").startswith("package")]
    try:
        ranges = [int(_text(zone / "max_energy_range_uj")) / 1e6 for zone in packages]

        def read() -> Reading:
            return tuple(int((zone / "energy_uj").read_text()) / 1e6 for zone in packages)

        read()
    except (OSError, ValueError):
        return None
    return Meter(read, ranges) if packages else None


def _text(file: Path) -> str:
    try:
        return file.read_text().strip()
    except OSError:
        return ""
