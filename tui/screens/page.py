"""What our screens share: how they end, and where typed text goes. Knows nothing of what they show."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

from textual import events
from textual.await_complete import AwaitComplete
from textual.screen import ModalScreen, Screen
from textual.widget import Widget

from tui.ending import Ending
from tui.keymap import area_of, named
from tui.toasts import Telling
from tui.widgets.prompt import Prompt

Result = TypeVar("Result")


class Page(Screen[Result], Telling, Ending):
    """A screen that ends in order, whenever and however often it is left."""

    def __init_subclass__(cls, *args: Any, **kwargs: Any) -> None:
        """Every key has a name, by which the user's settings change it."""
        if "BINDINGS" in cls.__dict__:
            cls.BINDINGS = named(cls.BINDINGS, area_of(cls.__name__))
        super().__init_subclass__(*args, **kwargs)

    def dismiss(self, result: Result | None = None) -> AwaitComplete:
        """Leave, with whatever lies above; who has left already stays where they are."""
        if self not in self.app.screen_stack:
            return AwaitComplete()
        while (above := self.app.screen) is not self:
            above.dismiss()
        return super().dismiss(result)

    async def on_event(self, event: events.Event) -> None:
        """A screen that was left before it was set up has no children: it is not set up any more."""
        if isinstance(event, events.Mount) and not self.is_attached:
            return
        await super().on_event(event)

    def after_typing(self, doing: Callable[[], object]) -> None:
        """Do it once the keys that were pressed before have reached the widget in focus."""
        (self.focused or self).call_later(doing)

    async def stop(self) -> None:
        """The application ends: end what runs, and keep what is done."""


class Dialog(ModalScreen[Result], Page[Result]):
    """A question over another screen."""

    CSS_PATH = Path(__file__).with_name("dialog.tcss")  # dialogs in other folders, too


def list_rows(dialog: Widget, rows: int) -> None:
    """Have a dialog's frame be as high as so many rows need; where it cannot be, the list in it scrolls."""
    dialog.styles.height = rows + 4  # a frame, and a line free above and below


class PromptPage(Page[Result]):
    """A screen with a prompt: whatever is typed or pasted goes there, wherever the focus is."""

    def typed(self, event: events.Key | events.Paste) -> None:
        """A key or a paste is about to be handed to the widget in focus."""
        if isinstance(event, events.Paste) or event.is_printable:
            self.set_focus(self.query_one(Prompt))
