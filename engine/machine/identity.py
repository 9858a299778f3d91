"""Which machine this is: its name, and a sign by which two processes know that they share one."""

import platform
from pathlib import Path

_BOOT = Path("/proc/sys/kernel/random/boot_id")  # of the running kernel: containers share it


def host() -> str:
    """The machine's name, as it calls itself."""
    return platform.node()[:255] or "an unnamed machine"


def machine() -> str:
    """Equal means the same running kernel, and so the same devices."""
    try:
        return _BOOT.read_text().strip()[:255]
    except OSError:
        return host()
