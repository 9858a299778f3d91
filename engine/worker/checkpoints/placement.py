"""Where a model goes and in which dtype: a profile's wishes, and what this machine has.

Owns the choice of device and dtype. Loads nothing.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

import torch

from engine import paths
from engine.config import runtime
from engine.config.profile import Model
from engine.errors import LoadError


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
    return Placement(device, dtype, _where(wish.device, device), notes)


def _device(wish: str) -> torch.device:
    has_gpu = torch.cuda.is_available()
    if runtime.needs_gpu(wish) and not has_gpu:
        raise LoadError(f"device {wish}: torch finds no GPU here", _why_no_gpu())
    if wish.startswith("cuda") and paths.worker_gpu() is not None:
        return torch.device("cuda:0")  # the one that this process sees
    found = runtime.device(wish, torch.cuda.device_count() if has_gpu else 0)
    return torch.device("cuda:0" if found == "split" else found)


def _why_no_gpu() -> str:
    if torch.version.cuda is None and torch.version.hip is None:
        return "this torch is built for the CPU only: install a CUDA build, or use `device: auto`"
    return "see `nvidia-smi` and CUDA_VISIBLE_DEVICES, or use `device: auto`"


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
