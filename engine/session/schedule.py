"""Who answers when: one after the other on a shared device, both at once, or one loaded at a time (swap)."""

from collections.abc import Sequence

from engine.config.user_config import AskedSchedule, Schedule
from engine.protocol.model import Memory, ModelInfo

__all__ = ["AskedSchedule", "Schedule"]  # what they are is written down where a user can choose one


def order(turn: int, sides: int = 2) -> list[int]:
    """Who goes first: A B, then B A, and so on, so that nobody always has the warmer machine."""
    forward = list(range(sides))
    return forward if turn % 2 == 0 else forward[::-1]


def share_a_device(infos: list[ModelInfo]) -> bool:
    """Whether two models run on the same device, so that speeds taken at once are contended."""
    devices = [(info.machine, info.device) for info in infos]
    machines = [machine for machine, _ in devices]
    is_split = any(device == "split" and machines.count(machine) > 1 for machine, device in devices)
    near = any(info.served and info.served.is_here for info in infos)  # on a device that it does not name
    return is_split or len(set(devices)) < len(devices) or (near and len(infos) > 1)


def fits_memory(there: Sequence[Memory]) -> bool:
    """Whether one more model, as large as the largest of these, fits on their device, as last seen."""
    if not there:
        return True
    free_bytes = there[-1].device_total_bytes - there[-1].device_used_bytes
    return free_bytes >= max(memory.process_bytes for memory in there)


def threads(schedule: Schedule, infos: list[ModelInfo], own: ModelInfo) -> int | None:
    """CPU threads for one of several answers: all of them, or a fair part of its machine's."""
    on_cpu = sum(info.device == "cpu" and info.machine == own.machine for info in infos)
    if schedule != "concurrent" or on_cpu < 2:
        return None
    return max(1, (own.threads if own.machine else physical_cores()) // on_cpu)


def physical_cores() -> int:
    """Cores this process may use, hyper-threads counted once."""
    import psutil  # 20 ms that the first picture does not pay

    usable = len(psutil.Process().cpu_affinity() or [0])
    return min(usable, psutil.cpu_count(logical=False) or usable)
