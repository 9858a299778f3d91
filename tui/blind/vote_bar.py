"""The vote: four buttons with their keys, and a line that says the same whoever answers."""

from typing import get_args

from textual import on
from textual.app import ComposeResult
from textual.containers import Horizontal, Vertical
from textual.content import Content
from textual.message import Message
from textual.widgets import Button, Static

from engine.votes.votes import Choice

CHOICES: tuple[Choice, ...] = get_args(Choice)


class VoteBar(Vertical):
    """What is asked, and the answers to choose from."""

    DEFAULT_CSS = """
    VoteBar { height: 2; padding: 0 2; background: $surface; }
    VoteBar Static { height: 1; text-wrap: nowrap; text-overflow: ellipsis; }
    VoteBar Horizontal { height: 1; }
    VoteBar Button {
        width: auto; min-width: 0; margin: 0 2 0 0; padding: 0 1; background: $panel; text-style: none;
    }
    VoteBar.-voted { height: 1; }
    VoteBar.-voted Horizontal { display: none; }
    VoteBar Button:focus { background: $secondary; color: $background; }
    """

    class Voted(Message):
        """The user chose."""

        def __init__(self, choice: Choice) -> None:
            super().__init__()
            self.choice = choice

    def compose(self) -> ComposeResult:
        yield Static()
        with Horizontal():
            for number, choice in enumerate(CHOICES, 1):
                yield Button(f"{number} {choice.capitalize()}", name=choice, compact=True, disabled=True)

    def show(self, text: str, *, can_vote: bool = False) -> None:
        """Say this, and whether a vote may be cast now."""
        self.query_one(Static).update(Content.assemble((text, "$quiet")))
        for button in self.query(Button):
            button.disabled = not can_vote

    @on(Button.Pressed)
    def _pressed(self, event: Button.Pressed) -> None:
        event.stop()
        self.post_message(self.Voted(next(choice for choice in CHOICES if choice == event.button.name)))
