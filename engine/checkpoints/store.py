"""Quantized checkpoints on disk: one folder per recipe, all of it or nothing.

A checkpoint is built in a folder next to its place, under a lock, and renamed into it. Whoever wants the same
one meanwhile waits for the lock and can read how far the builder is. What a killed builder left is swept away
by the next visitor. The folders are standard checkpoints; `quantduel.json` in each says how it was made.
"""

import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from fnmatch import fnmatchcase
from importlib import metadata
from pathlib import Path
from typing import TypeVar

import msgspec
from filelock import FileLock, Timeout
from msgspec import Struct

from engine import input_files, paths
from engine.config import environments
from engine.config.methods import original
from engine.config.profile import Profile
from engine.config.record import Recipe, Record
from engine.errors import FileError, InputError
from engine.protocol.loading import Staged

RECORD = "quantduel.json"
PROGRESS = "progress.json"
BUILDING = ".building"
REMOVED = ".removed"
LARGEST_RECORD_BYTES = 16 << 20
STORE_HINT = "fix its permissions, or set QUANTDUEL_HOME to another folder"
POLL_S = 0.5

T = TypeVar("T")
KEYS = "[0-9a-f]" * 16  # what folders of ours are called: no other is ever removed


class Entry(Struct, frozen=True, kw_only=True):
    """A checkpoint in the store."""

    path: Path
    record: Record
    size_bytes: int

    @property
    def key(self) -> str:
        """The recipe's short name, which is the folder's."""
        return self.path.name


def folder() -> Path:
    """Where the checkpoints are."""
    return paths.cache() / "checkpoints"


def find(recipe: Recipe) -> Entry | None:
    """The checkpoint of this recipe, if it is in the store."""
    return _entry(_place(recipe))


@contextmanager
def building(
    recipe: Recipe, waiting: Callable[[Staged | None], None], *, force: bool = False
) -> Iterator["Build | None"]:
    """The right to build a checkpoint; None where another process did meanwhile, unless `force`.

    While another process builds the same one this waits, and hands its progress to `waiting`.
    """
    place = _place(recipe)
    place.parent.mkdir(parents=True, exist_ok=True)
    lock = _lock(place)
    while not _acquired(lock):
        waiting(_progress(place))
    try:
        if find(recipe) and not force:
            yield None
            return
        build = Build(place)
        try:
            yield build
        finally:
            build.discard()
    finally:
        lock.release()


class Build:
    """A checkpoint in the making: write into `path`, then `publish`. Only the lock's holder has one."""

    def __init__(self, place: Path) -> None:
        self._place = place
        self.path = _beside(place, BUILDING)
        _delete(self.path)
        self.path.mkdir(parents=True)

    def report(self, stage: Staged) -> None:
        """Report progress to those who wait."""
        temporary = self.path / f"{PROGRESS}.new"
        temporary.write_bytes(msgspec.json.encode(stage))
        temporary.rename(self.path / PROGRESS)

    def publish(self, record: Record) -> Path:
        """Put the finished checkpoint into its place."""
        (self.path / PROGRESS).unlink(missing_ok=True)
        (self.path / RECORD).write_bytes(msgspec.json.format(msgspec.json.encode(record)))
        _take_away(self._place)  # one to be built again, or that another version of this program recorded
        self.path.rename(self._place)
        sweep()
        return self._place

    def discard(self) -> None:
        """Remove what was not published."""
        _delete(self.path)


def entries() -> list[Entry]:
    """Every checkpoint, the newest first; what killed builders left is removed if possible.

    InputError where the store cannot be read.
    """
    found = [_entry(place) for place in _places()]
    sweep()
    return sorted((entry for entry in found if entry), key=lambda entry: entry.record.created, reverse=True)


def _places() -> list[Path]:
    try:
        return list(folder().iterdir())
    except FileNotFoundError:  # nothing was made yet
        return []
    except OSError as error:
        raise InputError(f"{folder()} cannot be read: {error.strerror}", STORE_HINT) from error


def made_of(profile: Profile) -> Entry | None:
    """The newest checkpoint that the profile may have made; found without hashing the model's content.

    A changed folder has the same name here, so whoever loads looks again by the recipe.
    """
    for found in entries():
        recipe = found.record.recipe
        same = recipe.method == profile.quantization and profile.model.dtype in {"auto", recipe.dtype}
        named = recipe.model.partition("@")[0] in {profile.model.source, "folder", "gguf"}
        if same and named and is_current(found):
            return found
    return None


def entry(name: str) -> Entry:
    """The checkpoint a user means, by its key or the beginning of it."""
    hits = [found for found in entries() if name and found.key.startswith(name)]
    if len(hits) == 1:
        return hits[0]
    problem = "more than one checkpoint" if hits else "no checkpoint"
    raise InputError(f"{problem} in the store named {name!r}", "`quantduel store list` shows all")


def is_current(found: Entry) -> bool:
    """Whether the installed packages are those that made it: others never look for it."""
    recipe = found.record.recipe
    package = original(recipe.method)
    version = environments.environment(package).version if package else _version
    return all(version(name) == made for name, made in recipe.versions.items())


def remove(found: Entry) -> None:
    """Delete a checkpoint. A worker that has it loaded keeps it."""
    with _lock(found.path):
        _take_away(found.path)
    sweep()


def sweep() -> int:
    """Remove what killed builders left; how many folders that were."""
    swept = 0
    for left in folder().glob(f"{KEYS}{REMOVED}"):
        _delete(left)
        swept += 1
    for left in folder().glob(f"{KEYS}{BUILDING}"):
        lock = _lock(left.with_name(left.name.removesuffix(BUILDING)))
        try:
            with lock.acquire(timeout=0):
                _delete(left)
                swept += 1
        except (Timeout, OSError):
            continue  # somebody is building it now, or it is not ours to remove
    return swept


def size_bytes(place: Path) -> int:
    """Of all files in a checkpoint."""
    return sum(file.stat().st_size for file in place.rglob("*") if file.is_file())


def record(place: Path) -> Record | None:
    """How a checkpoint was made; None for none, and for another version's: that is built again."""
    return _decoded(place / RECORD, Record)


def now() -> str:
    """The time for a record, in UTC."""
    return datetime.now(UTC).isoformat(timespec="seconds")


def _place(recipe: Recipe) -> Path:
    return folder() / recipe.key


def _beside(place: Path, suffix: str) -> Path:
    return place.with_name(place.name + suffix)


def _lock(place: Path) -> FileLock:
    return FileLock(_beside(place, ".lock"))


def _acquired(lock: FileLock) -> bool:
    try:
        lock.acquire(timeout=POLL_S)
    except Timeout:
        return False
    return True


def _take_away(place: Path) -> None:
    """Rename a checkpoint to what the next sweep removes: so a half-deleted one is never in its place."""
    if place.exists() or place.is_symlink():
        doomed = _beside(place, REMOVED)
        _delete(doomed)
        place.rename(doomed)


def _delete(left: Path) -> None:
    """A folder with all that is in it; of a link, the link alone."""
    if left.is_symlink():
        left.unlink(missing_ok=True)
    else:
        shutil.rmtree(left, ignore_errors=True)


def _progress(place: Path) -> Staged | None:
    return _decoded(_beside(place, BUILDING) / PROGRESS, Staged)  # None: not begun, or just finished


def _decoded(file: Path, into: type[T]) -> T | None:
    """The struct that a JSON file holds; None where it holds none, or cannot be read."""
    try:
        return msgspec.json.decode(input_files.read(file, LARGEST_RECORD_BYTES), type=into)
    except (FileError, RecursionError, ValueError):  # no UTF-8, no JSON, another version's
        return None


def _entry(place: Path) -> Entry | None:
    found = record(place)
    if found is None or not fnmatchcase(place.name, KEYS):  # in the making, or a copy that a user put here
        return None
    try:
        return Entry(path=place, record=found, size_bytes=size_bytes(place))
    except OSError:  # somebody removes it now, or hides it from us
        return None


def _version(package: str) -> str:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return ""
