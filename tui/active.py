"""What can be done on a screen, as its bindings have it: one list, for the help and for the palette.

A binding counts where its widget is shown and can be used. Knows no screen.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import partial
from typing import Any, NamedTuple

from textual.app import App, SystemCommand
from textual.binding import Binding
from textual.dom import DOMNode
from textual.screen import Screen
from textual.widget import Widget


class Key(NamedTuple):
    """One command: its keys, what it does, and the name by which the settings change them."""

    keys: str
    what: str
    name: str


def keys_of(screen: Screen[Any]) -> list[Key]:
    """What there is to press: the screen's own keys, those of its widgets, and the application's."""
    found: dict[str, Key] = {}  # each key once
    for node in (*_shown(screen), screen.app):
        for text, what in getattr(node, "TYPED", ()):
            found.setdefault(text.casefold(), Key(text, what, ""))
        for binding in _bindings(node, screen):
            key = _key(screen.app, binding)
            found.setdefault(key.keys.casefold(), key)
    return list(found.values())


def commands_of(screen: Screen[Any]) -> Iterator[SystemCommand]:
    """The same as commands by name: the screen's, the application's, and what widgets have in the footer."""
    for node in (screen, screen.app):
        for binding in _bindings(node, screen):
            yield _command(screen.app, node, binding, _title(binding))
    for widget in _shown(screen):
        for binding in _bindings(widget, screen) if widget is not screen else ():
            if binding.show:
                yield _command(screen.app, widget, binding, binding.description)


def _command(app: App[Any], node: DOMNode, binding: Binding, title: str) -> SystemCommand:
    key = _key(app, binding)
    words = key.keys if key.what.casefold() == title.casefold() else f"{key.what} ({key.keys})"
    return SystemCommand(title, words, partial(app.run_action, binding.action, node))


def _shown(widget: Widget) -> Iterator[Widget]:
    """The widget and what is in it, without what is hidden or cannot be used."""
    yield widget
    for child in widget.children:
        if child.display and not child.disabled:
            yield from _shown(child)


def _bindings(node: DOMNode, screen: Screen[Any]) -> Iterator[Binding]:
    """A node's; of the application's those whose key the screen has no use of its own for."""
    taken = set(screen._bindings.key_to_bindings) if node is screen.app else set()
    yield from (each for each in _declared(type(node)) if not taken.intersection(each.key.split(",")))


def _declared(kind: type[DOMNode]) -> Iterator[Binding]:
    """Those that QuantDuel declares, and not what Textual's widgets have of their own."""
    taken: set[str] = set()
    for owner in kind.__mro__:
        if owner.__module__.startswith("tui."):
            own = [each for each in owner.__dict__.get("BINDINGS", ()) if isinstance(each, Binding)]
            yield from (each for each in own if not taken.issuperset(each.key.split(",")))
            taken.update(key for each in own for key in each.key.split(","))
        if not owner.__dict__.get("_inherit_bindings", True):
            return


def _key(app: App[Any], binding: Binding) -> Key:
    name = binding.id or ""
    keys = app._keymap.get(name, binding.key)  # Textual has no other way to ask for it
    shown = [app.get_key_display(replace(binding, key=key, key_display=None)) for key in keys.split(",")]
    return Key(", ".join(shown), binding.tooltip or binding.description, name)


def _title(binding: Binding) -> str:
    """A footer's label; where that is short for something, which a tooltip explains, the action's name."""
    if not binding.tooltip:
        return binding.description
    return binding.action.partition("(")[0].rpartition(".")[2].replace("_", " ").capitalize()


def without_twins(commands: Sequence[SystemCommand]) -> Iterator[SystemCommand]:
    """The first of each title."""
    yield from {command.title: command for command in reversed(commands)}.values()
