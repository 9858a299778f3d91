"""What can be done with the last turn, and with an earlier prompt: two small menus. Change nothing."""

from collections.abc import Sequence
from typing import NamedTuple

from textual import events, on
from textual.app import ComposeResult
from textual.binding import Binding
from textual.containers import Vertical
from textual.content import Content
from textual.widgets import OptionList
from textual.widgets.option_list import Option

from engine.sanitize import visible
from tui.screens.page import Dialog, list_rows


class Item(NamedTuple):
    """One thing to do; `why_not` says what keeps it from being done."""

    letter: str
    what: str
    why_not: str = ""


class MenuDialog(Dialog[str | None]):
    """Enter or a letter chooses; ends with the letter."""

    BINDINGS = [Binding("escape", "dismiss", "Close")]

    def __init__(self, title: str, items: Sequence[Item], *, highlighted: int = 0) -> None:
        super().__init__()
        self._title, self._items, self._highlighted = title, items, highlighted

    def compose(self) -> ComposeResult:
        with Vertical(classes="dialog") as dialog:
            list_rows(dialog, len(self._items))
            dialog.border_title = self._title
            dialog.border_subtitle = "Enter or the letter chooses · Esc closes"
            yield OptionList(*map(_option, self._items), compact=True)

    def on_mount(self) -> None:
        options = self.query_one(OptionList)
        options.highlighted = self._highlighted
        options.focus()

    def on_key(self, event: events.Key) -> None:
        """A letter chooses at once."""
        item = next((item for item in self._items if item.letter == event.character), None)
        if item is not None and not item.why_not:
            event.stop()
            self.dismiss(item.letter)

    @on(OptionList.OptionSelected)
    def _selected(self, event: OptionList.OptionSelected) -> None:
        self.dismiss(self._items[event.option_index].letter)


def _option(item: Item) -> Option:
    words = Content(visible(item.what, keep_newlines=False)).stylize("$quiet" if item.why_not else "")
    why = Content.styled(f"  {visible(item.why_not, keep_newlines=False)}" if item.why_not else "", "$quiet")
    return Option(Content.assemble((f"{item.letter}  ", "bold"), words, why), disabled=bool(item.why_not))
