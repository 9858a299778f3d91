"""Where a model goes and in which dtype: a profile's wishes, and what this machine has.

Owns the choice of device and dtype. Loads nothing.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field

import torch

from engine import paths
from engine.config import runtime
from engine.config.profile import Model
from engine.errors import LoadError
from engine.machine import hardware, torch_build

_ARCH = re.compile(r"(sm|compute)_(\d+)(\d)[af]?")


@dataclass(frozen=True, slots=True)
class Placement:
    """A device, a dtype, and the options of `from_pretrained` for them."""

    device: torch.device
    """Where token ids go; with several GPUs the first."""
    dtype: torch.dtype
    where: Mapping[str, object] = field(default_factory=dict)
    """`device_map`, and `max_memory` (bytes per GPU) where a model is split."""
    notes: tuple[str, ...] = ()
    compiles: bool = False
    """Whether the engine's compiled step is to decode, where it can: it is wanted, and reads the cache."""

    @property
    def name(self) -> str:
        """What the user calls the device: `cpu`, `cuda:1`, `split`."""
        if self.where.get("device_map") == "auto":
            return "split"
        gpu = paths.worker_gpu()
        return str(self.device) if gpu is None or self.device.type == "cpu" else f"cuda:{gpu}"


def on_host(dtype: torch.dtype) -> Placement:
    """The CPU, whatever the profile wishes: where a model is read that is quantized before it moves."""
    return Placement(torch.device("cpu"), dtype, {"device_map": {"": "cpu"}})


def place(wish: Model, stored: torch.dtype) -> Placement:
    """For a model whose checkpoint is `stored` in this dtype; LoadError where there is no such device."""
    device = _device(wish.device)
    dtype, notes = _dtype(wish.dtype, stored, device)
    if wish.device == "auto" and device.type == "cpu" and hardware.detect().gpus:
        notes = (f"on the CPU, though there is a GPU: {_no_gpu()[0]}", *notes)
    return Placement(device, dtype, _where(wish.device, device), notes)


def _device(wish: str) -> torch.device:
    has_gpu = torch.cuda.is_available()
    if runtime.needs_gpu(wish) and not has_gpu:
        why, fix = _no_gpu()
        raise LoadError(f"device {wish}: {why}", fix)
    if has_gpu and wish != "cpu":
        _require_kernels()
    if wish.startswith("cuda") and paths.worker_gpu() is not None:
        return torch.device("cuda:0")  # the one that this process sees
    found = runtime.device(wish, torch.cuda.device_count() if has_gpu else 0)
    return torch.device("cuda:0" if found == "split" else found)


def _no_gpu() -> tuple[str, str]:
    """Why torch finds no GPU, as far as it is known, and what to do."""
    if unused := hardware.detect().unused:
        return unused
    why = "torch finds no GPU here"
    try:
        torch.cuda.init()
    except (RuntimeError, AssertionError) as error:  # CUDA's own words, such as `system not yet initialized`
        why += f": {str(error).splitlines()[0]}"
    return why, "see `nvidia-smi` and CUDA_VISIBLE_DEVICES, or use `device: auto`"


def _require_kernels() -> None:
    """LoadError where this torch was built without kernels for a GPU: else the first kernel would say so.

    Machine code is for one major version of compute capability, from a minor version on; PTX for all that
    follow (CUDA C++ Programming Guide, "Binary Compatibility" and "PTX Compatibility").
    """
    built = [found.groups() for arch in torch.cuda.get_arch_list() if (found := _ARCH.fullmatch(arch))]
    for gpu in range(torch.cuda.device_count() if built else 0):
        major, minor = torch.cuda.get_device_capability(gpu)
        runs = [
            (int(its_major), int(its_minor)) <= (major, minor)
            and (kind == "compute" or int(its_major) == major)
            for kind, its_major, its_minor in built
        ]
        if not any(runs):
            name = torch.cuda.get_device_name(gpu)
            raise LoadError(
                f"this torch has no kernels for {name} (compute {major}.{minor})",
                f"install a build that has, such as {torch_build.OLDER_CUDA}, or set `device: cpu`",
            )


def _dtype(wish: str, stored: torch.dtype, device: torch.device) -> tuple[torch.dtype, tuple[str, ...]]:
    if wish != "auto":
        return getattr(torch, wish), ()
    name = str(stored).removeprefix("torch.")
    found = runtime.own_dtype(name, has_bfloat16=name != "bfloat16" or has_bfloat16(device))
    notes = () if found == name else ("float16 instead of bfloat16, which this GPU does not support",)
    return getattr(torch, found), notes


def has_bfloat16(device: torch.device) -> bool:
    """Whether the device supports bfloat16 natively; every CPU does, fast or slow."""
    if device.type == "cpu":
        return True
    return torch.cuda.get_device_capability(device) >= (8, 0) or torch.version.hip is not None


def _where(wish: str, device: torch.device) -> dict[str, object]:
    if wish != "split":
        return {"device_map": {"": str(device)}}
    free_bytes = {gpu: torch.cuda.mem_get_info(gpu)[0] for gpu in range(torch.cuda.device_count())}
    usable = {gpu: int(free * runtime.USABLE_SHARE) for gpu, free in free_bytes.items()}
    return {"device_map": "auto", "max_memory": usable}
