"""A box with GPUs, as NVML would show it: put into pynvml's place, so that all that asks it is tried."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from types import SimpleNamespace

import pynvml
import pytest

from engine.machine import torch_build

GIB = 1 << 30


@dataclass
class Gpu:
    """One GPU by PCI bus order; `parts` are the UUIDs of a divided one (MIG)."""

    uuid: str
    name: str = "NVIDIA H100"
    total_bytes: int = 80 * GIB
    free_bytes: int = 79 * GIB
    capability: tuple[int, int] = (9, 0)
    pids: tuple[int, ...] = ()
    parts: tuple[str, ...] = ()
    has_memory: bool = True
    process_bytes: dict[int, int] = field(default_factory=dict)
    millijoules: Iterable[int] = ()
    """What its energy counter says, one after the other; then the driver is gone. Without any it has none."""

    def __post_init__(self) -> None:
        self.has_counter = bool(self.millijoules)
        self.millijoules = iter(self.millijoules)


class Box:
    """What stands for pynvml's functions; a handle is the Gpu, or a pair of it and a part's UUID."""

    def __init__(self, *gpus: Gpu) -> None:
        self.gpus, self.torch, self.cuda = gpus, "CUDA 13.0", 13000

    def install(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Put this box in the driver's place."""
        for name in dir(self):
            if name.startswith("nvml"):
                monkeypatch.setattr(pynvml, name, getattr(self, name))
        monkeypatch.setattr(torch_build, "built_for", lambda: self.torch)

    def nvmlInit(self) -> None: ...  # noqa: N802

    def nvmlShutdown(self) -> None: ...  # noqa: N802

    def nvmlSystemGetDriverVersion(self) -> str:  # noqa: N802
        return "580.65"

    def nvmlSystemGetCudaDriverVersion(self) -> int:  # noqa: N802
        return self.cuda

    def nvmlDeviceGetCount(self) -> int:  # noqa: N802
        return len(self.gpus)

    def nvmlDeviceGetHandleByIndex(self, index: int) -> Gpu:  # noqa: N802
        return self.gpus[index]

    def nvmlDeviceGetHandleByUUID(self, uuid: str) -> object:  # noqa: N802
        return next((gpu, uuid) for gpu in self.gpus if uuid in gpu.parts)

    def nvmlDeviceGetUUID(self, handle: object) -> str:  # noqa: N802
        return handle.uuid if isinstance(handle, Gpu) else handle[1]  # type: ignore[index]

    def nvmlDeviceGetMigMode(self, gpu: Gpu) -> tuple[int, int]:  # noqa: N802
        if not gpu.parts:
            raise pynvml.NVMLError_NotSupported
        return 1, 1

    def nvmlDeviceGetMaxMigDeviceCount(self, gpu: Gpu) -> int:  # noqa: N802
        return 7

    def nvmlDeviceGetMigDeviceHandleByIndex(self, gpu: Gpu, place: int) -> object:  # noqa: N802
        if place >= len(gpu.parts):
            raise pynvml.NVMLError_NotFound
        return gpu, gpu.parts[place]

    def nvmlDeviceGetName(self, handle: object) -> str:  # noqa: N802
        return handle.name if isinstance(handle, Gpu) else f"{handle[0].name} MIG 1g"  # type: ignore[index]

    def nvmlDeviceGetMemoryInfo(self, handle: object) -> SimpleNamespace:  # noqa: N802
        if not isinstance(handle, Gpu):
            return SimpleNamespace(total=10 * GIB, free=9 * GIB)
        if not handle.has_memory:
            raise pynvml.NVMLError_NotSupported
        return SimpleNamespace(total=handle.total_bytes, free=handle.free_bytes)

    def nvmlDeviceGetCudaComputeCapability(self, gpu: Gpu) -> tuple[int, int]:  # noqa: N802
        return gpu.capability

    def nvmlDeviceGetTotalEnergyConsumption(self, gpu: Gpu) -> int:  # noqa: N802
        if not gpu.has_counter:
            raise pynvml.NVMLError_NotSupported
        if (found := next(gpu.millijoules, None)) is None:  # type: ignore[call-overload]
            raise pynvml.NVMLError_GpuIsLost
        return found

    def nvmlDeviceGetComputeRunningProcesses(self, gpu: Gpu) -> list[SimpleNamespace]:  # noqa: N802
        return [SimpleNamespace(pid=pid, usedGpuMemory=gpu.process_bytes.get(pid)) for pid in gpu.pids]
