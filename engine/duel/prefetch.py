"""A profile's weight files read ahead into the page cache, while its worker starts and imports its libraries.

Owns which files those are, and that nobody is on the clock meanwhile. Reads no content itself: the kernel is
asked to.
"""

import asyncio
import os
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path

from engine import input_files, paths
from engine.checkpoints import store
from engine.config.methods import Checkpointed, Gguf, LlamaCpp
from engine.config.profile import Profile
from engine.config.sources import Demo, Folder, GgufFile, Hub
from engine.errors import FileError, QuantDuelError, ShapeError
from engine.machine import hardware
from engine.shape import find
from engine.shape.weight_files import weight_files

PART_BYTES = 128 << 10  # the kernel reads no more than a device's read-ahead for one request, however long
SHARE = 0.5  # of the memory that is free


@asynccontextmanager
async def reading(profile: Profile) -> AsyncIterator[None]:
    """Within it the profile's files are read ahead; on leaving that has stopped, done or not."""
    is_over = threading.Event()
    task = asyncio.create_task(asyncio.to_thread(prefetch, profile, is_over.is_set))
    try:
        yield
    finally:
        is_over.set()
        await asyncio.wait([task])


def prefetch(profile: Profile, is_over: Callable[[], bool] = lambda: False) -> int:
    """Ask the kernel for the profile's files, until `is_over`; for how many bytes it was asked.

    No more than a share of the free memory: of a file that is larger, the beginning would be gone again when
    the load comes to it. 0 where the files are not here.
    """
    most_bytes, done = int(SHARE * hardware.free_by_device()["cpu"]), 0
    for file in _files_or_none(profile):
        with suppress(OSError, FileError):  # gone meanwhile: the load will say so
            for part in _parts_read(file, most_bytes - done, is_over):
                done += part
    return done


def _files_or_none(profile: Profile) -> list[Path]:
    """None on another machine, and where looking for them fails: the load will say why."""
    try:
        return [] if profile.worker.is_elsewhere else files(profile)
    except (OSError, QuantDuelError):
        return []


def files(profile: Profile) -> list[Path]:
    """The weight files that a load of this profile will read, as far as they are on this machine."""
    if isinstance(profile.quantization, Checkpointed):
        entry = store.made_of(profile)
        return _weight_files(entry.path) if entry else []
    match profile.source:
        case Demo():
            pattern = "*.gguf" if isinstance(profile.quantization, Gguf | LlamaCpp) else "*/*.safetensors"
            return sorted((paths.cache() / "demo").glob(pattern))
        case Folder(path):
            return _weight_files(paths.expanded(path))
        case GgufFile(path):
            return [paths.expanded(path)]
        case Hub(repo):
            folder = find.cached(repo, profile.model.revision)
            return _weight_files(folder) if folder else []
        case _:
            return []


def _weight_files(folder: Path) -> list[Path]:
    """None where some are missing: the load will say so."""
    try:
        return list(weight_files(folder))
    except ShapeError:
        return []


def _parts_read(file: Path, most_bytes: int, is_over: Callable[[], bool]) -> Iterator[int]:
    """The sizes of the parts that the kernel was asked for."""
    with input_files.opened(file) as content:
        end = min(os.fstat(content.fileno()).st_size, most_bytes)
        for start in range(0, end, PART_BYTES):
            if is_over() or not hasattr(os, "posix_fadvise"):
                return
            part = min(PART_BYTES, end - start)
            os.posix_fadvise(content.fileno(), start, part, os.POSIX_FADV_WILLNEED)
            yield part
