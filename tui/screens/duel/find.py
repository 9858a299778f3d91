"""Words to look for in a conversation."""

from textual import on
from textual.app import ComposeResult
from textual.binding import Binding
from textual.containers import Vertical
from textual.widgets import Input

from tui.screens.page import Dialog
from tui.settings.line_input import LineInput


class FindDialog(Dialog[str | None]):
    """Ends with the words; the same words again go to the next place."""

    BINDINGS = [Binding("escape", "dismiss", "Close")]

    def __init__(self, query: str) -> None:
        super().__init__()
        self._query = query

    def compose(self) -> ComposeResult:
        with Vertical(classes="dialog") as dialog:
            dialog.border_title = "Find"
            dialog.border_subtitle = "Enter goes there, and again to the next · Esc closes"
            yield LineInput(self._query, placeholder="words of the conversation", compact=True)

    @on(Input.Submitted)
    def _submitted(self, event: Input.Submitted) -> None:
        self.dismiss(event.value.strip())
