"""Where the user writes: Enter sends, a newline is Ctrl+J, arrows at the edge walk through what was sent."""

from textual import events
from textual.binding import Binding
from textual.message import Message
from textual.widgets import TextArea

from engine.duel.sides import all_of
from tui.own_keys import OwnKeys

HINT = "Ask both: Enter sends, Ctrl+J is a new line"
NEWLINE_KEYS = {"ctrl+j", "shift+enter", "alt+enter"}


def hint(sides: int) -> str:
    """What an empty prompt says that so many sides are asked with."""
    return HINT.replace("both", all_of(sides))


class Prompt(TextArea, OwnKeys):
    """The prompt."""

    DEFAULT_CSS = """
    Prompt {
        height: auto; min-height: 3; max-height: 10; padding: 0 1;
        border: round $panel; background: $background;
        &:focus { border: round $secondary; }
        & .text-area--cursor-line { background: transparent; }
        & .text-area--placeholder { color: $foreground 68%; }
    }
    """
    BINDINGS = [
        Binding("pageup", "scroll_answers(-1)", "scroll the answers up", show=False),
        Binding("pagedown", "scroll_answers(1)", "scroll the answers down", show=False),
        Binding("ctrl+underscore", "undo", "undo", show=False),
        Binding("ctrl+d", "delete_or_quit", "Quit", tooltip="delete to the right; in an empty prompt, quit"),
    ]

    TYPED = (
        ("Enter", "ask"),
        ("^j", "a new line in the prompt"),
        ("Up, Down", "earlier prompts, from the first or last line"),
        ("Tab", "prompt, A, B; whatever is typed goes to the prompt"),
    )

    class Sent(Message):
        """The user sent this prompt."""

        def __init__(self, text: str) -> None:
            super().__init__()
            self.text = text

    class Scrolled(Message):
        """The user wants to see earlier (-1) or later (1) pages of the answers."""

        def __init__(self, direction: int) -> None:
            super().__init__()
            self.direction = direction

    def __init__(self, sides: int = 2) -> None:
        super().__init__(
            placeholder=hint(sides),
            highlight_cursor_line=False,
            show_line_numbers=False,
        )
        self.cursor_blink = False
        self._sent: list[str] = []
        self._place = 0  # in `_sent`; its length is the draft
        self._draft = ""

    async def _on_key(self, event: events.Key) -> None:
        if event.key == "enter":
            event.stop()
            event.prevent_default()
            self._send()
        elif event.key in NEWLINE_KEYS:
            event.stop()
            event.prevent_default()
            self.insert("\n")

    def give_back(self, text: str) -> None:
        """Put a prompt that was not asked back where it can be changed."""
        self.text = text
        self.move_cursor(self.document.end)

    def keep_draft(self) -> None:
        """Keep what stands here, for `restore_draft`."""
        self._draft, self._place = self.text, len(self._sent)

    def restore_draft(self) -> None:
        """What stood here before."""
        self.give_back(self._draft)

    def remember(self, text: str) -> None:
        """Keep a prompt for the arrows, and make room for the next."""
        if not self._sent or self._sent[-1] != text:
            self._sent.append(text)
        self._place, self._draft = len(self._sent), ""
        self.clear()

    def action_cursor_up(self, select: bool = False) -> None:
        """Up a line; from the first line to the prompt sent before."""
        if not select and self.cursor_at_first_line and self._place > 0:
            self._walk(-1)
        else:
            super().action_cursor_up(select)

    def action_cursor_down(self, select: bool = False) -> None:
        """Down a line; from the last line to the prompt sent after."""
        if not select and self.cursor_at_last_line and self._place < len(self._sent):
            self._walk(1)
        else:
            super().action_cursor_down(select)

    def action_scroll_answers(self, direction: int) -> None:
        """Scroll the answers without leaving the prompt."""
        self.post_message(self.Scrolled(direction))

    def action_delete_or_quit(self) -> None:
        """Delete to the right; in an empty prompt, quit."""
        if self.text:
            self.action_delete_right()
        else:
            self.app.call_later(self.app.action_quit)  # which waits for this widget, too

    def _send(self) -> None:
        if self.text.strip():
            self.post_message(self.Sent(self.text))

    def _walk(self, step: int) -> None:
        if self._place == len(self._sent):
            self._draft = self.text
        self._place += step
        self.give_back(self._sent[self._place] if self._place < len(self._sent) else self._draft)
