"""Folders of links among the temporary files, each for as long as the process lives that made it.

Owns their lock, which the kernel releases with the process, and the removal of those that nobody holds.
"""

import fcntl
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

PREFIX = "quantduel-view-"
_AS_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


@contextmanager
def new() -> Iterator[Path]:
    """An empty folder; gone afterwards, or with the next sweep where this process is killed."""
    sweep()
    folder, descriptor = _held()
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        os.close(descriptor)


def sweep() -> None:
    """Remove this user's views whose processes are gone."""
    for folder in Path(tempfile.gettempdir()).glob(f"{PREFIX}*"):
        with suppress(OSError):  # another user's, or gone meanwhile
            _remove_unless_held(folder)


def _remove_unless_held(folder: Path) -> None:
    descriptor = os.open(folder, _AS_FOLDER)
    try:
        if os.fstat(descriptor).st_uid == os.getuid() and _locked(descriptor):
            shutil.rmtree(folder, ignore_errors=True)
    finally:
        os.close(descriptor)


def _held() -> tuple[Path, int]:
    """A new folder and its lock, whatever another process sweeps between the two."""
    while True:
        folder = Path(tempfile.mkdtemp(prefix=PREFIX))
        try:
            descriptor = os.open(folder, _AS_FOLDER)
        except FileNotFoundError:
            continue
        if _locked(descriptor) and folder.is_dir():
            return folder, descriptor
        os.close(descriptor)


def _locked(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:  # held by its owner
        return False
    return True
