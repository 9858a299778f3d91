"""What the torch of this Python was built for, and why it uses no GPU. Reads files; never imports torch."""

import re
import sys
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path
from typing import NamedTuple

OLDER_CUDA, OLDER_MAJOR = "--index-url https://download.pytorch.org/whl/cu126", 12


class Unused(NamedTuple):
    """Why torch uses no GPU, and what changes that."""

    why: str
    fix: str


def built_for() -> str:
    """`the CPU`, `CUDA 12.6`, `ROCm 6.4`; empty where there is no torch."""
    try:
        text = Path(str(distribution("torch").locate_file("torch/version.py"))).read_text()
    except (PackageNotFoundError, OSError):
        return ""
    for name in ("cuda", "hip"):
        if found := re.search(rf"^{name}\b.*= ['\"]([\d.]+)", text, re.MULTILINE):
            return f"{'CUDA' if name == 'cuda' else 'ROCm'} {found[1]}"
    return "the CPU"


def unused(driver_cuda: int) -> Unused | None:
    """Why this torch uses no NVIDIA GPU; None where it does, or is not known to.

    `driver_cuda` is the major version of CUDA that the driver is for, 0 where it does not say. A build of
    torch runs with drivers of its own major version and newer ones (CUDA Compatibility, "Minor Version
    Compatibility").
    """
    build = built_for()
    install = f"{sys.executable} -m pip install --force-reinstall torch"
    if build == "the CPU" or build.startswith("ROCm"):
        return Unused(f"torch is built for {build}", install)
    wanted = int(build.removeprefix("CUDA ").partition(".")[0]) if build.startswith("CUDA ") else 0
    if 0 < driver_cuda < wanted:
        why = f"torch is built for {build}, and the driver for CUDA {driver_cuda}"
        older = f", or: {install} {OLDER_CUDA}" if driver_cuda >= OLDER_MAJOR else ""
        return Unused(why, f"update the driver{older}")
    return None
