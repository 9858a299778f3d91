"""Whether the kernel killed a process because memory ran out: its counters know such a kill from one by hand.

Reads the control group's `oom_kill` counter (v2 memory.events, v1 memory.oom_control) and the system's.
"""

import re
from pathlib import Path

from engine.machine.hardware import CGROUP_ROOT, cgroup_folders

VMSTAT = Path("/proc/vmstat")
_COUNTER = re.compile(r"^oom_kill (\d+)$", re.MULTILINE)


def count(
    root: Path = CGROUP_ROOT, own: Path = Path("/proc/self/cgroup"), system: Path = VMSTAT
) -> int | None:
    """Processes that the kernel has killed so far because memory ran out; None where no counter can be read.

    The counter of the innermost control group that has one; else the whole system's.
    """
    folders = sorted(cgroup_folders(root, own), key=lambda folder: -len(folder.parts))
    files = [folder / name for folder in folders for name in ("memory.events", "memory.oom_control")]
    for file in (*files, system):
        try:
            found = _COUNTER.search(file.read_text())
        except OSError:
            continue
        if found:
            return int(found[1])
    return None
