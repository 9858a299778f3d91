"""Profiles out of YAML, out of settings on top of another, and from another machine; all of them checked."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec
from msgspec.structs import replace

from engine import paths
from engine.config import strict_yaml
from engine.config.profile import Profile, Prompt
from engine.config.profiles import origin
from engine.config.profiles.checking import checked, fault, require_template
from engine.config.worker_place import Worker
from engine.errors import ProfileError


def read(path: Path) -> Profile:
    """The profile in a YAML file. Relative paths in it are relative to the file's folder."""
    profile = strict_yaml.read(path, Profile)
    if profile.name:
        raise fault(path, "name", "the file's name is the profile's name", "leave this key out")
    return checked(replace(profile, name=origin.shown_name(path)), path)


def changed(profile: Profile, settings: Mapping[str, object], *, where: str = "--set") -> Profile:
    """The profile with other values: `{"model.dtype": "float32"}`; a bare key is one of `generation`.

    A new `quantization.method` starts from that method's own defaults. ProfileError says `where` it was set.
    """
    data: dict[str, Any] = msgspec.to_builtins(profile)
    for key, value in settings.items():
        *sections, last = key.split(".") if "." in key else ("generation", key)
        if key == "quantization.method" and data["quantization"]["method"] != value:
            data["quantization"] = {}
        if sections == ["worker"]:  # one key of it stands alone
            data["worker"] = {}
        place = data
        for section in sections:
            place = place.setdefault(section, {})
            if not isinstance(place, dict):
                raise ProfileError(where, f"{section} has no keys of its own", key=key)
        place[last] = value
    return checked(strict_yaml.convert(data, Profile, file=where), Path(where))


def here(profile: Profile) -> Profile:
    """The profile that came from another machine, on the machine whose files it means; ProfileError."""
    return checked(replace(profile, worker=Worker()), paths.neutral_folder() / "profile")


def prompt_here(prompt: Prompt) -> Prompt:
    """How a conversation becomes text, likewise; ProfileError where a template's file is not here."""
    if prompt.file is None:
        return prompt
    file = paths.expanded(prompt.file)
    require_template(file, Path("profile"))
    return replace(prompt, template=str(file))


def to_yaml(profile: Profile) -> str:
    """The profile as the YAML file that would make it, defaults included."""
    import yaml

    data = {k: v for k, v in msgspec.to_builtins(profile).items() if k != "name" and v != ""}
    return yaml.safe_dump(data, sort_keys=False, allow_unicode=True)


def faults(path: Path) -> list[ProfileError]:
    """Everything that is wrong with a file; nothing where it is a profile."""
    found = strict_yaml.faults(path, Profile)
    if found:
        return found
    try:
        read(path)
    except ProfileError as error:
        return [error]
    return []
