"""The names of all screens' keys, against which the user's settings are checked."""

import pkgutil
from collections.abc import Iterator, Mapping
from importlib import import_module
from pathlib import Path

from textual.binding import Binding

from engine.config import strict_yaml
from engine.config.faults import nearest
from engine.errors import ProfileError
from tui import screens
from tui.screens.page import Page


def check(keymap: Mapping[str, str], file: Path) -> None:
    """ProfileError where the user's settings name a key that there is not."""
    known = {name for page in _pages() for name in names(page)} if keymap else set()
    for name in keymap:
        if name not in known:
            key = f"keymap.{name}"
            line = strict_yaml.line_of_key(file, ("keymap", name))
            hint = nearest(name, known) or "F1 on a screen shows the names of its keys"
            raise ProfileError(file, "no key has this name", line=line, key=key, hint=hint)


def names(page: type[Page[object]]) -> Iterator[str]:
    """Those of a screen's own bindings."""
    for binding in page.__dict__.get("BINDINGS", ()):
        if isinstance(binding, Binding) and binding.id:
            yield binding.id


def _pages() -> Iterator[type[Page[object]]]:
    for module in pkgutil.iter_modules(screens.__path__, "tui.screens."):
        import_module(module.name)
    waiting: list[type[Page[object]]] = [Page]
    while waiting:
        page = waiting.pop()
        waiting += page.__subclasses__()
        yield page
