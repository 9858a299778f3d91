"""A limit on this worker's host memory, set by the user: beyond it allocations fail.

Owns the process's RLIMIT_DATA. The kernel counts private writable memory by its addresses, touched or not, so
what is mapped but untouched when the limit is set (stacks, reserved arenas) is added to it, and the resident
code of the libraries is taken off: the limit is then about that of the resident set. Linux only.
"""

import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from engine.machine.hardware import host_memory

_STATUS = Path("/proc/self/status")
_limit_bytes: list[int] = []  # the one in force, none or one


def set_limit(limit_bytes: int | None) -> None:
    """From now on; None sets none. Where the system has no such limit, none is set."""
    if limit_bytes is None or sys.platform != "linux":
        return
    _limit_bytes[:] = [limit_bytes]
    _apply(limit_bytes)


@contextmanager
def lifted() -> Iterator[None]:
    """Within it there is no limit: for the few bytes that reporting a failure takes."""
    if not _limit_bytes:
        yield
        return
    import resource

    before = resource.getrlimit(resource.RLIMIT_DATA)
    resource.setrlimit(resource.RLIMIT_DATA, (before[1], before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_DATA, before)


@contextmanager
def growth(most_bytes: int) -> Iterator[None]:
    """Within it the process may take `most_bytes` more than now, and never more than its own limit."""
    if sys.platform != "linux":
        yield
        return
    import resource

    before = resource.getrlimit(resource.RLIMIT_DATA)
    wanted = _sizes()["VmData"] + most_bytes
    bound = min((end for end in before if end != resource.RLIM_INFINITY), default=wanted)
    resource.setrlimit(resource.RLIMIT_DATA, (min(wanted, bound), before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_DATA, before)


def in_force() -> int | None:
    """The user's limit in bytes; None where there is none."""
    return _limit_bytes[0] if _limit_bytes else None


def free_bytes() -> int:
    """What the host, or the limit where that is less, has left for this process."""
    _, free, _ = host_memory()
    if (limit := in_force()) is None:
        return free
    sizes = _sizes()
    return max(0, min(free, limit - sizes["RssAnon"] - sizes["RssFile"]))


def _apply(limit_bytes: int) -> None:
    import resource

    sizes = _sizes()
    untouched = sizes["VmData"] - sizes["RssAnon"]
    allowed = max(0, limit_bytes - sizes["RssFile"] + untouched)
    _, hard = resource.getrlimit(resource.RLIMIT_DATA)
    resource.setrlimit(resource.RLIMIT_DATA, (allowed, hard))


def _sizes() -> dict[str, int]:
    found = re.findall(r"^(VmData|RssAnon|RssFile):\s+(\d+) kB", _STATUS.read_text(), re.MULTILINE)
    return {name: int(size) * 1024 for name, size in found}
