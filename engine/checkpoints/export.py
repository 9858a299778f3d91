"""A checkpoint copied into a folder of the user's: all of it or nothing.

Owns the question what may be replaced: only what an export wrote and nobody changed since. Its
`quantduel.json` lists the files; nothing else is ever removed. The old folder is renamed away first, and goes
when the new one is in place. Knows nothing of recipes.
"""

import os
import shutil
import stat
from collections.abc import Iterator
from contextlib import suppress
from hashlib import sha256
from pathlib import Path

import msgspec
from filelock import FileLock

from engine import input_files, paths
from engine.checkpoints import store
from engine.config.record import Record
from engine.errors import FileError, InputError

SHOWN_NAMES = 3
UNFINISHED, REPLACED = ".quantduel-new", ".quantduel-old"


class Exported(Record, frozen=True, kw_only=True):
    """A checkpoint's record next to a copy: with what was copied."""

    files: dict[str, int] = {}
    """Bytes of each, by its path below the folder."""


def require_free(out: Path, *, replace: bool) -> Path:
    """Where `export` writes, links followed; InputError where it would refuse, before anything is made."""
    out = paths.followed(out)
    try:
        if not out.exists() or (out.is_dir() and not any(out.iterdir())):
            return out
        fault = _why_not_ours(out)
    except OSError as error:
        raise InputError(f"{out}: {error.strerror}", "choose another folder") from error
    if not replace:
        raise InputError(f"{out} exists already", "choose another folder" if fault else "--force replaces it")
    if fault:
        raise InputError(f"{out} {fault}", "it is not replaced: choose another folder")
    return out


def export(checkpoint: Path, out: Path, *, replace: bool = False) -> Path:
    """Copy a checkpoint to a folder of the user's; InputError where there is something already."""
    out = require_free(out, replace=replace)
    out.parent.mkdir(parents=True, exist_ok=True)
    unfinished, replaced = (out.with_name(f".{out.name}{suffix}") for suffix in (UNFINISHED, REPLACED))
    with _lock(out):
        for left in (unfinished, replaced):  # of a killed one
            _remove_written(left)
        _copy(checkpoint, unfinished)
        if require_free(out, replace=replace).exists():
            out.rename(replaced)
        unfinished.rename(out)
        _remove_written(replaced)
    return out


def _lock(out: Path) -> FileLock:
    store.folder().mkdir(parents=True, exist_ok=True)
    return FileLock(store.folder() / f"export-{sha256(os.fsencode(out)).hexdigest()[:16]}.lock")


def _copy(checkpoint: Path, into: Path) -> None:
    """The list comes first, so that an unfinished copy can be told apart from a user's files."""
    found = store.record(checkpoint)
    if found is None:
        raise InputError(f"{checkpoint} is not a checkpoint of this version", "make it again")
    files = {name: file.stat().st_size for name, file in _files(checkpoint) if name != store.RECORD}
    into.mkdir()
    record = Exported(**{name: getattr(found, name) for name in Record.__struct_fields__}, files=files)
    (into / store.RECORD).write_bytes(msgspec.json.format(msgspec.json.encode(record)))
    for name in files:
        (into / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(checkpoint / name, into / name)
    os.utime(into / store.RECORD)  # no file of it is younger


def _why_not_ours(out: Path) -> str:
    """What is in the way of replacing a folder; empty where all of it is an export, as it was written."""
    record = _record(out)
    if record is None or not record.files:
        return "is not a checkpoint that QuantDuel wrote"
    written = (out / store.RECORD).stat().st_mtime_ns
    others, changed = [], []
    for name, file in _files(out):
        about = file.lstat()
        if name != store.RECORD and (name not in record.files or not stat.S_ISREG(about.st_mode)):
            others.append(name)
        elif name != store.RECORD and (about.st_size != record.files[name] or about.st_mtime_ns > written):
            changed.append(name)
    if others:
        return f"has files that QuantDuel did not write: {_listed(others)}"
    return f"has files that were changed since: {_listed(changed)}" if changed else ""


def _record(folder: Path) -> Exported | None:
    if folder.is_symlink() or not folder.is_dir():
        return None
    try:
        content = input_files.read(folder / store.RECORD, store.LARGEST_RECORD_BYTES)
        return msgspec.json.decode(content, type=Exported)
    except (FileError, RecursionError, ValueError):
        return None


def _remove_written(folder: Path) -> None:
    """Remove what an export wrote, its list last; InputError where something else stays."""
    if record := _record(folder):
        for file in (folder / name for name in record.files):
            if file.parent.resolve().is_relative_to(folder.resolve()):
                file.unlink(missing_ok=True)
        for below in sorted((path for path in folder.rglob("*") if path.is_dir()), reverse=True):
            with suppress(OSError):  # not empty, or a link
                below.rmdir()
        if [name for name, _ in _files(folder)] == [store.RECORD]:
            (folder / store.RECORD).unlink()
    try:
        folder.rmdir()
    except FileNotFoundError:
        return
    except OSError as error:
        hint = "move it away: there is something in it that QuantDuel did not write"
        raise InputError(f"{folder} is in the way: {error.strerror}", hint) from error


def _files(folder: Path) -> Iterator[tuple[str, Path]]:
    """Files, links and empty folders; links are not followed."""
    for path in sorted(folder.rglob("*")):
        is_folder = path.is_dir() and not path.is_symlink()
        if not is_folder or not any(path.iterdir()):
            yield path.relative_to(folder).as_posix(), path


def _listed(names: list[str]) -> str:
    more = ", …" if len(names) > SHOWN_NAMES else ""
    return ", ".join(names[:SHOWN_NAMES]) + more
