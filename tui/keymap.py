"""Names of keys, for the user to change: every binding of a screen has one, such as `duel.settings`.

A name is the screen's and the action's. Textual puts the user's keys in the place of the shipped ones.
"""

import pkgutil
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from importlib import import_module
from typing import TYPE_CHECKING

from textual.binding import Binding, BindingType

from engine.config import strict_yaml
from engine.config.faults import nearest
from engine.errors import ProfileError

if TYPE_CHECKING:
    from pathlib import Path

    from tui.screens.page import Page


def area_of(screen: str) -> str:
    """`duel` of `DuelScreen`, `save-profile` of `SaveProfileDialog`."""
    return re.sub(r"(?<=[a-z])(?=[A-Z])", "-", re.sub(r"Screen$|Dialog$", "", screen)).lower()


def named(bindings: Iterable[BindingType], area: str) -> list[BindingType]:
    """The bindings, each with a name of its own."""
    found: list[BindingType] = []
    given: set[str] = set()
    for binding in bindings:
        if isinstance(binding, Binding):
            name = binding.id or f"{area}.{_action(binding.action)}"
            name = f"{name}-{binding.key.partition(',')[0]}" if name in given else name
            given.add(name)
            binding = replace(binding, id=name)  # noqa: PLW2901
        found.append(binding)
    return found


def check(keymap: Mapping[str, str], file: "Path") -> None:
    """ProfileError where the user's settings name a key that there is not."""
    known = {name for page in _pages() for name in names(page)} if keymap else set()
    for name in keymap:
        if name not in known:
            key = f"keymap.{name}"
            line = strict_yaml.line_of_key(file, ("keymap", name))
            hint = nearest(name, known) or "F1 on a screen shows the names of its keys"
            raise ProfileError(file, "no key has this name", line=line, key=key, hint=hint)


def names(page: "type[Page[object]]") -> Iterator[str]:
    """Those of a screen's own bindings."""
    for binding in page.__dict__.get("BINDINGS", ()):
        if isinstance(binding, Binding) and binding.id:
            yield binding.id


def _pages() -> Iterator["type[Page[object]]"]:
    import tui.screens
    from tui.screens.page import Page

    for module in pkgutil.iter_modules(tui.screens.__path__, "tui.screens."):
        import_module(module.name)
    waiting: list[type[Page[object]]] = [Page]
    while waiting:
        page = waiting.pop()
        waiting += page.__subclasses__()
        yield page


def _action(action: str) -> str:
    """`vote-left` of `vote('left')`, `help` of `app.help`."""
    name, _, argument = action.rpartition(".")[2].partition("(")
    argument = re.sub(r"[^\w-]", "", argument)
    return "-".join(filter(None, (name.replace("_", "-"), argument)))
