"""`config.yaml`: how QuantDuel is for this user: colours, keys, what it begins with, folders.

Owns the schema, and the file: read as strictly as a profile, and changed a value at a time, so that comments
stay. What runs models is a profile's business. Which keys and themes there are, the screens know.
"""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Literal

import msgspec
from msgspec import Meta, Struct

from engine import input_files, paths
from engine.config import strict_yaml
from engine.errors import FileError, InputError, ProfileError

Schedule = Literal["sequential", "concurrent", "swap"]
AskedSchedule = Schedule | Literal["auto"]  # sequential, or swap where both do not fit
_Name = Annotated[str, Meta(min_length=1)]

TEMPLATE = """\
# QuantDuel's settings. What is left out has its default: `quantduel config show` shows all of them.
# theme: quantduel-light
# low_bandwidth: true             # fewer repaints, no animation: for a slow line
# keymap: {duel.settings: ctrl+y} # F1 on a screen shows the names of its keys
# defaults: {a: smollm2-bf16, b: smollm2-nf4, schedule: auto, settings: {temperature: 0.7}}
# folders: {profiles: [~/models/profiles], exports: ~/duels}
# alerts: {bell: true, notification: true, title: true, after_s: 10}
"""


class _Section(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What the parts of the file have in common."""


class Defaults(_Section, frozen=True):
    """What the screen begins with where the command line says nothing."""

    a: _Name = "smollm2-bf16"
    b: _Name = "smollm2-nf4"
    schedule: AskedSchedule = "auto"
    settings: dict[str, bool | int | float | str | list[str] | None] = {}
    """As `--set` takes them: a key without a dot is one of `generation`."""


class Folders(_Section, frozen=True):
    """Where files are looked for and put."""

    profiles: tuple[str, ...] = ()
    """More folders of profiles, looked at after your own."""
    exports: str = ""
    """Where exports are proposed to go; empty is the folder one is in."""


class Alerts(_Section, frozen=True):
    """How QuantDuel signals that a long load or run is done."""

    bell: bool = True
    notification: bool = True
    """OSC 9, which terminals show as a notification of the desktop."""
    title: bool = True
    """The window's title says what is going on."""
    after_s: Annotated[float, Meta(ge=0)] = 10.0
    """What took less is not signalled."""


class Config(_Section, frozen=True):
    """The file."""

    theme: str = ""
    """The colours; empty is QuantDuel's own."""
    low_bandwidth: bool = False
    """Fewer repaints and no animation, for a slow line."""
    keymap: dict[str, str] = {}
    """Other keys: `duel.settings: ctrl+y`."""
    defaults: Defaults = Defaults()
    folders: Folders = Folders()
    alerts: Alerts = Alerts()


def read(file: Path | None = None) -> Config:
    """What the user's file says; the defaults where there is none. ProfileError names line and key."""
    file = file or paths.user_config()
    if not paths.answers(Path.exists, file) or strict_yaml.is_empty(file):
        return Config()
    return strict_yaml.read(file, Config)


def keep(key: str, value: object) -> None:
    """Have the file say this from now on; InputError where it cannot be written or does not read back."""
    from engine.config.atomic import replacing  # what reads only needs no more than that
    from engine.config.yaml_edit import with_value

    file = paths.user_config()
    is_there = paths.answers(Path.exists, file)
    text = input_files.read_text(file, strict_yaml.LARGEST_FILE_BYTES) if is_there else TEMPLATE
    with replacing(file) as unfinished:
        unfinished.write_text(with_value(text, tuple(key.split(".")), value), encoding="utf-8")
        read(unfinished)


@contextmanager
def blaming(*key: str, settings: Iterable[str] = ()) -> Iterator[None]:
    """What is wrong within is the fault of the value at this key of the file, which the error then names.

    Where a profile refuses one of the `settings` below the key, it is that one. A fault that has a file and a
    line of its own keeps them.
    """
    try:
        yield
    except InputError as error:
        has_place = isinstance(error, FileError | ProfileError) and error.line
        file = paths.user_config()
        if isinstance(error, ProfileError):
            key = (*key, *_refused(settings, error.key))
        line = strict_yaml.line_of_key(file, key)
        if has_place or not line:
            raise
        problem = error.problem if isinstance(error, ProfileError) and error.key else error.message
        raise ProfileError(file, problem, line=line, key=".".join(key), hint=error.hint) from None


def _refused(settings: Iterable[str], fault: str) -> list[str]:
    """The setting that is at fault, by the profile's key of the fault; nothing where none is known."""
    full = {name: name if "." in name else f"generation.{name}" for name in settings}
    return [name for name, key in full.items() if f"{key}.".startswith(f"{fault}.")][:1]


def to_yaml(config: Config) -> str:
    """All of it, defaults included."""
    import yaml

    return yaml.safe_dump(msgspec.to_builtins(config), sort_keys=False, allow_unicode=True)
