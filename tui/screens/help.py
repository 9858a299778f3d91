"""The keys of a screen, as its bindings have them, and the meaning of every figure."""

from collections.abc import Sequence

from textual.app import ComposeResult
from textual.binding import Binding
from textual.containers import VerticalScroll
from textual.content import Content
from textual.widgets import Static

from engine.definitions import DEFINITIONS
from tui.active import Key
from tui.screens.page import Dialog


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


def _table(title: str, rows: Sequence[tuple[str, str]]) -> Content:
    width = max(len(name) for name, _ in rows) + 2
    lines = [Content.assemble((title, "bold $text-primary"))]
    lines += [Content.assemble((name.ljust(width), "bold"), (text, "$quiet")) for name, text in rows]
    return Content("\n").join([*lines, Content("")])
