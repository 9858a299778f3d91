"""A profile's weight files read ahead into the page cache, so that the load that follows waits for no disk.

Owns which files those are. Reads no content itself: the kernel is asked to.
"""

import os
from pathlib import Path

from engine import input_files, paths
from engine.checkpoints import store
from engine.config.methods import Gguf, Packed
from engine.config.profile import Profile
from engine.config.sources import Demo, Folder, GgufFile, Hub
from engine.errors import FileError, QuantDuelError, ShapeError
from engine.shape import find
from engine.shape.weight_files import weight_files


def prefetch(profile: Profile) -> int:
    """Ask the kernel for the profile's files; how many bytes they have. 0 where they are not here."""
    total = 0
    for file in _files_or_none(profile):
        try:
            total += _will_need(file)
        except (OSError, FileError):  # gone meanwhile: the load will tell
            continue
    return total


def _files_or_none(profile: Profile) -> list[Path]:
    """None where looking for them fails: the load will tell why."""
    try:
        return files(profile)
    except (OSError, QuantDuelError):
        return []


def files(profile: Profile) -> list[Path]:
    """The weight files that a load of this profile will read, as far as they are on this machine."""
    if isinstance(profile.quantization, Packed):
        entry = store.made_of(profile)
        return _weight_files(entry.path) if entry else []
    match profile.source:
        case Demo():
            pattern = "*.gguf" if isinstance(profile.quantization, Gguf) else "*/*.safetensors"
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
    """None where they are not whole: the load will tell."""
    try:
        return list(weight_files(folder))
    except ShapeError:
        return []


def _will_need(file: Path) -> int:
    with input_files.opened(file) as content:
        size = os.fstat(content.fileno()).st_size
        if hasattr(os, "posix_fadvise"):
            os.posix_fadvise(content.fileno(), 0, size, os.POSIX_FADV_WILLNEED)
        return size
