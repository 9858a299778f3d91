"""Folders and files that are their owner's alone, whatever the umask says.

Owns modes and owners: history, logs and compiled code go through here. Knows nothing of what they hold. On
systems without POSIX modes the user's profile folder does the same.
"""

import os
from pathlib import Path
from typing import BinaryIO

_OTHERS = 0o077
_OTHERS_WRITE = 0o022


def folder(path: Path) -> Path:
    """The folder, for its owner alone; made with what is missing above it. OSError where that cannot be."""
    for missing in reversed([place for place in (path, *path.parents) if not place.exists()]):
        missing.mkdir(mode=0o700, exist_ok=True)
    if is_own(path) and path.stat().st_mode & _OTHERS:
        path.chmod(0o700)
    return path


def file(path: Path) -> Path:
    """The file, for its owner alone; made where it is missing. OSError where that cannot be."""
    os.close(os.open(path, os.O_WRONLY | os.O_CREAT | getattr(os, "O_NOFOLLOW", 0), 0o600))
    if is_own(path) and path.stat().st_mode & _OTHERS:
        path.chmod(0o600)
    return path


def begun(path: Path) -> BinaryIO:
    """An empty file to be written, for its owner alone; OSError where that cannot be."""
    return file(path).open("wb")


def is_own(path: Path) -> bool:
    """Whether it belongs to the user of this process."""
    return os.name != "posix" or path.stat().st_uid == os.geteuid()


def others_can_write(path: Path) -> bool:
    """Whether somebody else could have put or changed something there."""
    return os.name == "posix" and bool(path.stat().st_mode & _OTHERS_WRITE)
