"""Folders and files that are their owner's alone, whatever the umask says.

Owns modes and owners: history, logs and compiled code go through here. Knows nothing of what they hold. On
systems without POSIX modes the user's profile folder does the same.
"""

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
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


def code_folder(path: Path, root: Path) -> Path:
    """A folder below `root` for code that will be run; what others could have put there is removed first.

    `root` stays readable to whoever could read it, but not to be written. PermissionError where a folder on
    the way is somebody else's; OSError where it cannot be made.
    """
    way = [place for place in (path, *path.parents) if root in (place, *place.parents) and place.exists()]
    for place in way:
        if not is_own(place):
            raise PermissionError(f"{place} belongs to somebody else: no code is taken from it")
    if any(map(others_can_write, way)) or _has_strange(path):
        shutil.rmtree(path, ignore_errors=True)  # another process may be at it
    if _has_strange(path):
        raise PermissionError(f"{path} has files that others could have written")
    if root.exists() and others_can_write(root):
        root.chmod(root.stat().st_mode & ~_OTHERS_WRITE & 0o7777)
    for place in reversed([path, *(place for place in path.parents if root in place.parents)]):
        folder(place)
    return path


@contextmanager
def files() -> Iterator[None]:
    """Whatever this process makes meanwhile is its owner's alone."""
    before = os.umask(_OTHERS)
    try:
        yield
    finally:
        os.umask(before)


def _has_strange(path: Path) -> bool:
    return any(not is_own(file) or others_can_write(file) for file in path.rglob("*"))


def is_own(path: Path) -> bool:
    """Whether it belongs to the user of this process."""
    return os.name != "posix" or path.stat().st_uid == os.geteuid()


def others_can_write(path: Path) -> bool:
    """Whether somebody else could have put or changed something there."""
    return os.name == "posix" and bool(path.stat().st_mode & _OTHERS_WRITE)
