"""Joules that devices have taken, by their own counters: NVML's for GPUs, RAPL's for processors.

Knows no torch. A counter is everybody's: it counts what other programs make the device do, too. Where there
is none, or it may not be read (RAPL is root's on most systems), there is no figure, but the reason.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Literal

from engine.machine import gpu_state, nvidia
from engine.machine.cpu_time import busy_s, used_s
from engine.protocol.model import Counter, Energy, Lack

RAPL = Path("/sys/class/powercap")
IDLE_S = 0.25  # in which the idle draw is taken
PATIENCE_S = 1.0  # with a counter that does not move
LOOK_S = 0.001
BUSY_SHARE = 0.1  # of all processors, used by others

Reading = tuple[float, ...]
"""Joules since whenever, one for each counter."""


class Meter:
    """Energy between two moments. Reading does not hold up the caller: a thread does it."""

    def __init__(self, counter: Counter, read: Callable[[], Reading], ranges: Sequence[float]) -> None:
        self.counter = counter
        self._read, self._ranges = read, ranges
        self._beside = ThreadPoolExecutor(1, "energy")
        self._begun: Future[Reading] | None = None

    def begin(self) -> None:
        """From now on."""
        self._begun = self._beside.submit(self._read)

    def joules(self) -> float | None:
        """Until now, once; None where a counter stopped answering, or nothing was begun."""
        begun, self._begun = self._begun, None
        if begun is None:
            return None
        try:
            return self._between(begun.result(), self._read())
        except Exception:  # a driver that went away: no figure is better than a wrong one
            return None

    def watts(self, span_s: float) -> float | None:
        """The mean over at least so long, which the caller waits for; None where a counter does not move.

        From one move of the counter to another: between two of them nobody knows what it will count.
        """
        try:
            begun, began_s = self._moved(self._read())
            time.sleep(span_s)
            ended, ended_s = self._moved(self._read())
        except Exception:  # as above, TimeoutError too
            return None
        return self._between(begun, ended) / (ended_s - began_s)

    def _moved(self, last: Reading) -> tuple[Reading, float]:
        """The next other reading, and when it came."""
        began_s = time.monotonic()
        while (now := self._read()) == last:
            if time.monotonic() - began_s > PATIENCE_S:
                raise TimeoutError
            time.sleep(LOOK_S)
        return now, time.monotonic()

    def _between(self, begun: Reading, ended: Reading) -> float:
        steps = zip(begun, ended, self._ranges, strict=True)
        return sum(end - start if end >= start else end - start + size for start, end, size in steps)


def meter(kind: Literal["cpu", "cuda"], root: Path = RAPL) -> Meter | Lack:
    """A meter of the GPUs that this process sees, or of the processors; why there is none."""
    return _of_gpus() if kind == "cuda" else _of_processors(root)


def described(found: Meter | Lack, kind: Literal["cpu", "cuda"]) -> Energy:
    """Which counter there is, and what the device draws now, while nothing of this process runs."""
    if not isinstance(found, Meter):
        return Energy(lack=found)
    began_s, others_s = time.monotonic(), busy_s() - used_s(os.getpid())
    watts = found.watts(IDLE_S)
    others = (busy_s() - used_s(os.getpid()) - others_s) / (time.monotonic() - began_s)
    shared = _is_anybody_on_a_gpu() if kind == "cuda" else others > BUSY_SHARE * (os.cpu_count() or 1)
    return Energy(counter=found.counter, idle_watts=watts, idle_is_shared=shared and watts is not None)


def _is_anybody_on_a_gpu() -> bool:
    """A process that holds a context keeps a GPU's clocks up, even where it computes nothing."""
    own = {os.getpid()}
    return any(state.use_percent or set(state.pids) - own for state in gpu_state.states())


def _of_gpus() -> Meter | Lack:
    import pynvml

    try:
        pynvml.nvmlInit()  # stays open: opening takes long on a machine with many GPUs
        handles = [device.handle for device in nvidia.devices(pynvml)]
    except pynvml.NVMLError:
        return "no NVML"

    def read() -> Reading:
        return tuple(pynvml.nvmlDeviceGetTotalEnergyConsumption(handle) / 1000 for handle in handles)

    try:
        read()
    except pynvml.NVMLError:
        return "not in NVML"
    return Meter("NVML", read, [0.0] * len(handles)) if handles else "no NVML"


def _of_processors(root: Path) -> Meter | Lack:
    zones = [zone for zone in sorted(root.glob("*-rapl:[0-9]*")) if zone.name.count(":") == 1]
    packages = [zone for zone in zones if _text(zone / "name").startswith("package")]

    def read() -> Reading:
        return tuple(int((zone / "energy_uj").read_text()) / 1e6 for zone in packages)

    try:
        ranges = [int(_text(zone / "max_energy_range_uj")) / 1e6 for zone in packages]
        read()
    except PermissionError:
        return "RAPL not readable"
    except (OSError, ValueError):
        return "no RAPL"
    return Meter("RAPL", read, ranges) if packages else "no RAPL"


def _text(file: Path) -> str:
    try:
        return file.read_text().strip()
    except OSError:
        return ""
