"""The keys of a screen, as its bindings have them, and the meaning of every figure."""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any, NamedTuple

from textual.app import App, ComposeResult
from textual.binding import Binding
from textual.containers import VerticalScroll
from textual.content import Content
from textual.dom import DOMNode
from textual.screen import Screen
from textual.widgets import Static

from engine.definitions import DEFINITIONS
from tui.screens.page import Dialog


class Key(NamedTuple):
    """One command: its keys, what it does, and the name by which the settings change them."""

    keys: str
    what: str
    name: str


def keys_of(screen: Screen[Any]) -> list[Key]:
    """What there is to press on a screen, each key once: its own, its widgets', the application's."""
    nodes: list[DOMNode] = [screen, *screen.walk_children(), screen.app]
    found: dict[str, Key] = {}
    for node in nodes:
        for text, what in getattr(node, "TYPED", ()):
            found.setdefault(text.casefold(), Key(text, what, ""))
        for binding in _bindings(type(node)):
            key = _key(screen.app, binding)
            found.setdefault(key.keys.casefold(), key)
    return list(found.values())


class HelpScreen(Dialog[None]):
    """What the keys do and what the figures mean."""

    BINDINGS = [Binding("escape,f1,question_mark,q", "dismiss", "Close")]

    def __init__(self, keys: Sequence[Key]) -> None:
        super().__init__()
        self._keys = keys

    def compose(self) -> ComposeResult:
        with VerticalScroll(classes="dialog") as dialog:
            dialog.border_title = "Help"
            dialog.border_subtitle = "Esc closes"
            yield Static(_table("Keys", [(key.keys, key.what) for key in self._keys]))
            yield Static(_table("Figures", DEFINITIONS))
            names = [(key.keys, key.name) for key in self._keys if key.name]
            yield Static(_table("Names of the keys, for `keymap` in config.yaml", names))

    def on_mount(self) -> None:
        self.query_one(VerticalScroll).focus()


def _bindings(kind: type[DOMNode]) -> Iterator[Binding]:
    """Those that QuantDuel declares, and not what Textual's widgets have of their own."""
    for owner in kind.__mro__:
        if owner.__module__.startswith("tui."):
            yield from (b for b in owner.__dict__.get("BINDINGS", ()) if isinstance(b, Binding))
        if not owner.__dict__.get("_inherit_bindings", True):
            return


def _key(app: App[Any], binding: Binding) -> Key:
    name = binding.id or ""
    keys = app._keymap.get(name, binding.key)  # Textual has no other way to ask for it
    shown = [app.get_key_display(replace(binding, key=key, key_display=None)) for key in keys.split(",")]
    return Key(", ".join(shown), binding.tooltip or binding.description, name)


def _table(title: str, rows: Sequence[tuple[str, str]]) -> Content:
    width = max(len(name) for name, _ in rows) + 2
    lines = [Content.assemble((title, "bold $text-primary"))]
    lines += [Content.assemble((name.ljust(width), "bold"), (text, "$quiet")) for name, text in rows]
    return Content("\n").join([*lines, Content("")])
