"""Keys and the meaning of every figure."""

from collections.abc import Sequence

from textual.app import ComposeResult
from textual.binding import Binding
from textual.containers import VerticalScroll
from textual.content import Content
from textual.widgets import Static

from engine.definitions import DEFINITIONS
from tui.screens.page import Dialog

KEYS = [
    ("Enter", "ask both"),
    ("Ctrl+J, Shift+Enter", "new line in the prompt"),
    ("Up, Down", "earlier prompts, from the first or last line"),
    ("Page Up, Page Down", "scroll the answers"),
    ("Esc", "stop both sides"),
    ("Ctrl+E", "settings of both sides: system prompt, sampling, thinking, schedule"),
    ("Ctrl+O", "put another profile on the side in view"),
    ("Ctrl+T", "answer one after the other, both at once, or one loaded at a time"),
    ("Ctrl+N", "the other side"),
    ("Ctrl+R", "load a failed or cancelled side again; twice: the side in view, anew"),
    ("Ctrl+G", "copy the answers, in a pane its own (also over SSH)"),
    ("Ctrl+L", "clear: new conversations"),
    ("Ctrl+S", "export this duel: a page, Markdown, or JSON to be played again"),
    ("F2", "blind votes: 1 left, 2 right, 3 tie, 4 both bad"),
    ("F3", "lens: both models' view of every token of the last answers"),
    ("F5, F6", "bench (speed and memory); eval (KLD, perplexity on a text)"),
    ("F7", "the leaderboard of blind votes"),
    ("F8", "quantize now: make a profile's checkpoint"),
    ("on those screens", "Ctrl+R run, Esc stop or back, Ctrl+S export, F4 earlier runs"),
    ("Tab", "prompt, A, B; whatever is typed goes to the prompt"),
    ("Ctrl+P", "every command by name"),
    ("Ctrl+D, Ctrl+Q", "quit (Ctrl+D in an empty prompt)"),
]


class HelpScreen(Dialog[None]):
    """What the keys do and what the figures mean."""

    BINDINGS = [Binding("escape,f1,question_mark,q", "dismiss", "Close")]

    def compose(self) -> ComposeResult:
        with VerticalScroll(classes="dialog") as dialog:
            dialog.border_title = "Help"
            dialog.border_subtitle = "Esc closes"
            yield Static(_table("Keys", KEYS))
            yield Static(_table("Figures", DEFINITIONS))

    def on_mount(self) -> None:
        self.query_one(VerticalScroll).focus()


def _table(title: str, rows: Sequence[tuple[str, str]]) -> Content:
    width = max(len(name) for name, _ in rows) + 2
    lines = [Content.assemble((title, "bold $text-primary"))]
    lines += [Content.assemble((name.ljust(width), "bold"), (text, "$quiet")) for name, text in rows]
    return Content("\n").join([*lines, Content("")])
