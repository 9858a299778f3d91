"""One of a few words, chosen with the arrows."""

from collections.abc import Sequence

from textual import events
from textual.binding import Binding
from textual.content import Content
from textual.message import Message
from textual.reactive import reactive
from textual.widgets import Static


class Choice(Static, can_focus=True):
    """`‹ auto ›`: Left, Right and Space choose."""

    DEFAULT_CSS = """
    Choice { height: 1; padding: 0 1; background: $panel; }
    Choice:focus { background: $primary 20%; }
    """
    BINDINGS = [
        Binding("left", "choose(-1)", "Before", show=False),
        Binding("right,space", "choose(1)", "Next", show=False),
    ]

    value: reactive[str] = reactive("")

    class Changed(Message):
        """Another word was chosen."""

    def __init__(self, choices: Sequence[str], value: str, *, id: str) -> None:
        super().__init__(id=id)
        self._choices = tuple(choices)
        self.set_reactive(Choice.value, value)

    def render(self) -> Content:
        """The word between arrows."""
        return Content.assemble(("‹ ", "$quiet"), self.value, (" ›", "$quiet"))

    def watch_value(self) -> None:
        self.post_message(self.Changed())

    def action_choose(self, step: int) -> None:
        """The next word, or the one before."""
        place = self._choices.index(self.value) if self.value in self._choices else 0
        self.value = self._choices[(place + step) % len(self._choices)]

    def on_click(self, event: events.Click) -> None:
        event.stop()
        self.action_choose(1)
