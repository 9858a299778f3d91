"""This machine: its GPUs, processor, memory, and what each can compute, by driver and kernel.

Knows no torch: NVML answers for NVIDIA devices, psutil and the cgroup files for the host. The limit of a
container counts as the machine's memory.
"""

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil

from engine.machine import nvidia, torch_build
from engine.machine.torch_build import Unused

CGROUP_ROOT, MEMBERSHIP = Path("/sys/fs/cgroup"), Path("/proc/self/cgroup")
USEFUL_FLAGS = (
    "avx2",
    "avx512f",
    "avx512_vnni",
    "avx512_bf16",
    "amx_bf16",
    "amx_int8",
    "asimd",
    "bf16",
    "i8mm",
)


@dataclass(frozen=True, slots=True)
class Gpu:
    """An NVIDIA device."""

    index: int
    """As torch counts: `cuda:index`."""
    name: str
    total_bytes: int
    free_bytes: int
    capability: tuple[int, int]
    """CUDA compute capability, such as (9, 0)."""

    @property
    def has_bf16(self) -> bool:
        """Whether bfloat16 runs on the tensor cores (Ampere, 8.0, and later)."""
        return self.capability >= (8, 0)

    @property
    def has_int8(self) -> bool:
        """Whether int8 runs on the tensor cores (Turing, 7.5, and later)."""
        return self.capability >= (7, 5)


@dataclass(frozen=True, slots=True)
class Host:
    """The processor and its memory."""

    name: str
    cores: int
    """Physical cores."""
    threads: int
    """Hardware threads that this process may use."""
    flags: tuple[str, ...]
    """The instruction sets that matter for models, of those in USEFUL_FLAGS."""
    total_bytes: int
    available_bytes: int
    limited: bool
    """Whether a container's limit is below the machine's memory."""


@dataclass(frozen=True, slots=True)
class Hardware:
    """Everything a model could run on."""

    host: Host
    gpus: tuple[Gpu, ...]
    driver: str
    """The NVIDIA driver's version; empty where there is none."""
    gpu_problem: str = ""
    """Why an NVIDIA device that is there cannot be asked."""
    unused: Unused | None = None
    """Why the torch of this Python uses none of the GPUs; None where it does, or is not installed."""


def free_by_device() -> dict[str, int]:
    """Bytes that are free now on `cpu`, `cuda:0`, …"""
    gpus = {f"cuda:{gpu.index}": gpu.free_bytes for gpu in _nvidia()[0]}
    return {"cpu": _host().available_bytes, **gpus}


def detect() -> Hardware:
    """The machine as it is now."""
    gpus, driver, cuda, problem = _nvidia()
    unused = torch_build.unused(cuda) if gpus else None
    return Hardware(host=_host(), gpus=gpus, driver=driver, gpu_problem=problem, unused=unused)


def memory_limit(root: Path | None = None, own: Path | None = None) -> tuple[int, int] | None:
    """A container's memory limit and what of it is used, in bytes; None where there is no limit."""
    found = [_limit(folder) for folder in cgroup_folders(root or CGROUP_ROOT, own or MEMBERSHIP)]
    limits = [limit for limit in found if limit]
    return min(limits) if limits else None


def host_memory() -> tuple[int, int, bool]:
    """Bytes in total and free of the host, or of a container whose limit is lower; whether that is so."""
    memory, limit = psutil.virtual_memory(), memory_limit()
    if limit is None or limit[0] >= memory.total:
        return memory.total, memory.available, False
    return limit[0], min(memory.available, max(0, limit[0] - limit[1])), True


def _nvidia() -> tuple[tuple[Gpu, ...], str, int, str]:
    """GPUs, the driver's version, the CUDA it is for, and why it does not answer."""
    import pynvml

    try:
        with nvidia.driver() as nvml:
            gpus = tuple(_gpu(nvml, device) for device in nvidia.devices(nvml))
            return gpus, str(nvml.nvmlSystemGetDriverVersion()), nvidia.driver_cuda(nvml), ""
    except pynvml.NVMLError as error:
        there = Path("/dev/nvidia0").exists() or Path("/proc/driver/nvidia/version").exists()
        return (), "", 0, str(error) if there else ""


def _gpu(nvml: Any, device: nvidia.Device) -> Gpu:
    total, free = _memory(nvml, device)
    return Gpu(
        index=device.index,
        name=str(nvml.nvmlDeviceGetName(device.handle)),
        total_bytes=total,
        free_bytes=free,
        capability=tuple(nvml.nvmlDeviceGetCudaComputeCapability(device.gpu)),
    )


def _memory(nvml: Any, device: nvidia.Device) -> tuple[int, int]:
    """Total and free bytes; the host's where a GPU has none of its own (NVML then says: not supported)."""
    try:
        found = nvml.nvmlDeviceGetMemoryInfo(device.handle)
    except nvml.NVMLError_NotSupported:
        host = _host()
        return host.total_bytes, host.available_bytes
    return int(found.total), int(found.free)


def _host() -> Host:
    name, flags = cpu()
    total, available, limited = host_memory()
    threads = len(psutil.Process().cpu_affinity() or [0])
    cores = min(threads, psutil.cpu_count(logical=False) or threads)
    return Host(name, cores, threads, flags, total, available, limited)


def cpu(info: Path = Path("/proc/cpuinfo")) -> tuple[str, tuple[str, ...]]:
    """The processor's name and useful flags, out of /proc/cpuinfo."""
    text = info.read_text(errors="replace") if info.is_file() else ""
    name = re.search(r"^model name\s*:\s*(.+)$", text, re.MULTILINE)
    flags = re.search(r"^(?:flags|Features)\s*:\s*(.+)$", text, re.MULTILINE)
    known = set(flags[1].split()) if flags else set()
    return (name[1].strip() if name else "unknown processor"), tuple(f for f in USEFUL_FLAGS if f in known)


def cgroup_folders(root: Path, own: Path) -> list[Path]:
    """The process's cgroup and those above it: version 2 has one tree, version 1 one for memory."""
    lines = own.read_text().splitlines() if own.is_file() else []
    folders = [root, root / "memory"]
    for line in lines:
        _, controllers, path = line.split(":", 2)
        if controllers in {"", "memory"}:
            place = (root / "memory" if controllers else root) / path.lstrip("/")
            folders += [place, *(parent for parent in place.parents if parent.is_relative_to(root))]
    return list(dict.fromkeys(folders))


def _limit(folder: Path) -> tuple[int, int] | None:
    for limit_name, used_name in (
        ("memory.max", "memory.current"),
        ("memory.limit_in_bytes", "memory.usage_in_bytes"),
    ):
        limit, used = _number(folder / limit_name), _number(folder / used_name)
        if limit is not None and used is not None:
            return limit, max(0, used - _reclaimable_bytes(folder / "memory.stat"))
    return None


def _reclaimable_bytes(stat: Path) -> int:
    """File cache that the kernel gives back when memory is wanted; with that of groups below (`total_`)."""
    text = stat.read_text() if stat.is_file() else ""
    return max(map(int, re.findall(r"^(?:total_)?inactive_file (\d+)$", text, re.MULTILINE)), default=0)


def _number(file: Path) -> int | None:
    try:
        return int(file.read_text())
    except (OSError, ValueError):  # absent, or `max`
        return None
