"""A profile written into a file of the user's: what another file says and how, with what was chosen changed.

Comments stay. Nothing shipped is touched, and nothing half-written is left: the text is written next to its
place, read back, compared with what was meant, and renamed.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
from msgspec.structs import replace

from engine import input_files, paths
from engine.config import strict_yaml
from engine.config.atomic import replacing
from engine.config.faults import Key
from engine.config.profile import Profile
from engine.config.profiles.checking import named_paths
from engine.config.profiles.reading import read, to_yaml
from engine.config.yaml_edit import with_value
from engine.errors import InputError, ProfileError
from engine.sanitize import visible

UNTOUCHED = "profiles that come with QuantDuel are not changed: choose another name"


def place(name: str) -> Path:
    """The file a user means by a name: a profile of the user's own folder, or a path; InputError for none."""
    name = name.strip()
    is_path = "/" in name or name.endswith((".yaml", ".yml"))
    if not name.isprintable() or not name or (name.startswith(".") and not is_path):
        raise InputError("a profile needs a name, in one line and without a dot before it")
    file = paths.expanded(name) if is_path else paths.user_profiles() / f"{name}.yaml"
    if file.suffix not in {".yaml", ".yml"}:
        raise InputError(f"{file}: a profile's file ends in .yaml")
    file = file.absolute()
    if paths.followed(file).parent == paths.shipped_profiles().resolve():
        raise InputError(f"{file.name} is a shipped profile", UNTOUCHED)
    return file


def save(wanted: Profile, base: Path | None, file: Path) -> None:
    """Write this profile; `base` is the file whose text it starts from, None where there is none.

    ProfileError where the text cannot be changed to set it, InputError where the file cannot be written. What
    is in `file` is replaced: callers who must not lose it ask first.
    """
    text = to_yaml(wanted) if base is None else input_files.read_text(base, strict_yaml.LARGEST_FILE_BYTES)
    if base is not None and base.resolve().parent != file.resolve().parent:
        for key, path in named_paths(wanted).items():
            text = with_value(text, tuple(key.split(".")), str(path))
    with replacing(file) as unfinished:
        _write(wanted, text, unfinished, file)


def _write(wanted: Profile, text: str, unfinished: Path, file: Path) -> None:
    """The text changed until it reads as what is wanted; twice, since a new method brings defaults."""
    for _ in range(3):
        unfinished.write_text(text, encoding="utf-8")
        found = replace(_read(unfinished, file), name=wanted.name)
        changes = list(_changes(_plain(found), _plain(wanted), ()))
        if not changes:
            return
        for key, value in changes:
            text = with_value(text, key, value)
    keys = ", ".join(".".join(key) for key, _ in changes)
    raise ProfileError(file, f"cannot be changed to set {keys}", hint="save it under another name")


def _read(unfinished: Path, file: Path) -> Profile:
    try:
        return read(unfinished)
    except ProfileError as error:
        raise ProfileError(file, error.message.replace(str(unfinished), visible(file.name))) from error


def _plain(profile: Profile) -> dict[str, Any]:
    data: dict[str, Any] = msgspec.to_builtins(profile)
    return data


def _changes(found: dict[str, Any], wanted: dict[str, Any], key: Key) -> Iterator[tuple[Key, object]]:
    """Keys whose values differ, each with the value that is wanted."""
    if found.get("method") != wanted.get("method"):
        yield key, wanted
        return
    for name, value in wanted.items():
        there = found.get(name)
        if isinstance(value, dict) and isinstance(there, dict):
            yield from _changes(there, value, (*key, name))
        elif there != value:
            yield (*key, name), value
