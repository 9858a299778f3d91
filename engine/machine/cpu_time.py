"""Processor time: what everybody has used and what one process has. Knows no torch."""

import psutil


def busy_s() -> float:
    """Seconds that all processors together have worked, for anybody; stolen by a hypervisor counts."""
    times = psutil.cpu_times()
    names = ("user", "nice", "system", "irq", "softirq", "steal")
    return float(sum(getattr(times, name, 0.0) for name in names))


def used_s(pid: int) -> float:
    """Seconds a process and its children that it has waited for have worked; 0 for one that is gone."""
    try:
        times = psutil.Process(pid).cpu_times()
    except psutil.NoSuchProcess:
        return 0.0
    return float(times.user + times.system + times.children_user + times.children_system)
