"""The memory of the host, or of the container this process may use. Knows no torch.

A control group's limit below the physical memory is what ends a process, so that is the total then.
"""

import re
from collections.abc import Iterator
from pathlib import Path

import psutil

_CGROUP = Path("/sys/fs/cgroup")
_MEMBERSHIP = Path("/proc/self/cgroup")


def host_memory() -> tuple[int, int]:
    """Bytes in use and in total of the host, or of the container where its limit is the lower one."""
    host = psutil.virtual_memory()
    limits = [(total, used) for used, total in _cgroup_limits() if total < host.total]
    total, used = min(limits, default=(host.total, host.total - host.available))
    return used, total


def _cgroup_limits() -> Iterator[tuple[int, int]]:
    """Bytes in use and allowed, of every control group this process is in that has a limit.

    Pages the kernel can drop at once (inactive file cache) do not count as used.
    """
    for folder, limit, usage in _cgroup_files():
        try:
            allowed, used = (folder / limit).read_text().strip(), int((folder / usage).read_text())
            statistics = (folder / "memory.stat").read_text()
        except (OSError, ValueError):
            continue  # not every level of the tree is visible from inside a container
        droppable = re.findall(r"^(?:total_)?inactive_file (\d+)$", statistics, re.MULTILINE)
        if allowed.isdecimal():
            yield used - max(map(int, droppable), default=0), int(allowed)


def _cgroup_files() -> Iterator[tuple[Path, str, str]]:
    """Folders of the memory controller, innermost first, with the files for limit and usage (v2, v1)."""
    try:
        lines = _MEMBERSHIP.read_text().splitlines()
    except OSError:
        return
    for line in lines:
        _, controllers, path = line.split(":", 2)
        inside = Path(path.lstrip("/"))
        if controllers == "":
            yield from (
                (_CGROUP / part, "memory.max", "memory.current") for part in (inside, *inside.parents)
            )
        elif "memory" in controllers.split(","):
            names = ("memory.limit_in_bytes", "memory.usage_in_bytes")
            yield from ((_CGROUP / "memory" / part, *names) for part in (inside, *inside.parents))
