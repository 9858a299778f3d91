"""The names of all screens' keys, against which the user's settings are checked."""

import pkgutil
from collections.abc import Iterator, Mapping
from importlib import import_module
from pathlib import Path

from textual.binding import Binding
from textual.keys import Keys

from engine.config import strict_yaml
from engine.config.faults import nearest
from engine.errors import ProfileError
from tui import screens
from tui.screens.page import Page

MODIFIERS = {"ctrl", "shift", "alt", "super", "hyper", "meta"}
KNOWN = {key.value.rpartition("+")[2] for key in Keys}


def check(keymap: Mapping[str, str], file: Path) -> None:
    """ProfileError where the user's settings name a command or a key that there is not, or one key twice."""
    shipped = {name: key for page in _pages() for name, key in keys(page).items()} if keymap else {}
    taken = {(_area(name), key): name for name, key in _single({**shipped, **keymap}) if name not in keymap}
    for name, chosen in keymap.items():
        if name not in shipped:
            hint = nearest(name, shipped) or "F1 on a screen shows the names of its keys"
            raise _fault(file, name, "no key has this name", hint)
        for _, key in _single({name: chosen}):
            if not _is_key(key):
                raise _fault(file, name, f"{key!r} is no key", "such as ctrl+y, f13 or shift+f2")
            other = taken.setdefault((_area(name), key), name)
            if other != name:
                raise _fault(file, name, f"{key} is {other}'s key", f"give {other} another one, too")


def keys(page: type[Page[object]]) -> dict[str, str]:
    """The keys of a screen's own bindings by their names."""
    found = (b for b in page.__dict__.get("BINDINGS", ()) if isinstance(b, Binding))
    return {binding.id: binding.key for binding in found if binding.id}


def _single(keymap: Mapping[str, str]) -> Iterator[tuple[str, str]]:
    """Every key with the name that has it."""
    for name, chosen in keymap.items():
        yield from ((name, key.strip()) for key in chosen.split(","))


def _area(name: str) -> str:
    return name.partition(".")[0]


def _is_key(key: str) -> bool:
    """Whether a terminal can send it, as far as its name says."""
    *modifiers, last = key.split("+")
    return set(modifiers) <= MODIFIERS and (len(last) == 1 or last in KNOWN)


def _fault(file: Path, name: str, problem: str, hint: str) -> ProfileError:
    line = strict_yaml.line_of_key(file, ("keymap", name))
    return ProfileError(file, problem, line=line, key=f"keymap.{name}", hint=hint)


def _pages() -> Iterator[type[Page[object]]]:
    for module in pkgutil.iter_modules(screens.__path__, "tui.screens."):
        import_module(module.name)
    waiting: list[type[Page[object]]] = [Page]
    while waiting:
        page = waiting.pop()
        waiting += page.__subclasses__()
        yield page
