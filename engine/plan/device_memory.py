"""Where a profile's model goes, and how much memory is free there. Pure: the machine is an argument."""

from engine.config import runtime
from engine.errors import LoadError
from engine.machine.hardware import Hardware
from engine.plan.terms import DeviceMemory


def device(wish: str, machine: Hardware, *, by_own_torch: bool = True) -> str:
    """`cpu`, `cuda:0` or `split`, from a profile's wish; LoadError where there is no such device.

    Whether the torch of this Python uses the GPUs decides nothing for models that it does not load.
    """
    unused = machine.unused if by_own_torch else None
    if runtime.needs_gpu(wish) and unused:
        raise LoadError(f"device {wish}: {unused.why}", unused.fix)
    if runtime.needs_gpu(wish) and not machine.gpus:
        raise LoadError(f"device {wish}: there is no NVIDIA GPU here", "`quantduel doctor` says more")
    return runtime.device(wish, 0 if unused else len(machine.gpus))


def memory(place: str, machine: Hardware, limit_bytes: int | None = None) -> DeviceMemory:
    """The memory of that device. A limit set by the user counts where it is lower."""
    if place == "split":
        free = int(runtime.USABLE_SHARE * sum(gpu.free_bytes for gpu in machine.gpus))
        total = sum(gpu.total_bytes for gpu in machine.gpus)
        return DeviceMemory(
            device=place, name=f"{len(machine.gpus)} GPUs", free_bytes=free, total_bytes=total
        )
    if place != "cpu":
        gpu = machine.gpus[int(place.removeprefix("cuda:"))]
        return DeviceMemory(
            device=place, name=gpu.name, free_bytes=gpu.free_bytes, total_bytes=gpu.total_bytes
        )
    host = machine.host
    free, total, by = host.available_bytes, host.total_bytes, "container" if host.limited else ""
    if limit_bytes is not None and limit_bytes < free:
        free, total, by = limit_bytes, limit_bytes, "--memory-limit"
    return DeviceMemory(device=place, name=host.name, free_bytes=free, total_bytes=total, limited_by=by)
