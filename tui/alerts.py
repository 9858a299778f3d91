"""How a long load or run announces that it is done: bell, notification (OSC 9), window title (OSC 2).

Knows clocks and what is sent to a terminal; must not know screens. Which ones is the user's choice.
"""

import time
from collections.abc import Callable

from textual.message import Message

from engine.config.user_config import Alerts as Wanted
from engine.sanitize import visible

PUSH_TITLE, POP_TITLE = "\x1b[22;2t", "\x1b[23;2t"
LONGEST = 120  # characters
NAME = "QuantDuel"


class Begun(Message):
    """Long work begins, such as `loading`."""

    def __init__(self, what: str) -> None:
        super().__init__()
        self.what = what


class Done(Message):
    """It is over; `words` say so."""

    def __init__(self, what: str, words: str) -> None:
        super().__init__()
        self.what, self.words = what, words


class Alerts:
    """What is under way, and what is announced at its end."""

    def __init__(self, wanted: Wanted, write: Callable[[str], object]) -> None:
        self._wanted, self._write = wanted, write
        self._begun_s: dict[str, float] = {}

    def begin(self, what: str) -> None:
        """This is under way, such as `loading`."""
        self._begun_s.setdefault(what, time.monotonic())
        self._title(what)

    def end(self, what: str, words: str) -> None:
        """It is done; announced where it took long."""
        begun_s = self._begun_s.pop(what, None)
        if begun_s is None:
            return
        self._title(next(iter(self._begun_s), "ready"))
        if time.monotonic() - begun_s < self._wanted.after_s:
            return
        if self._wanted.notification:
            self._write(f"\x1b]9;{_plain(f'{NAME}: {words}')}\x07")
        if self._wanted.bell:
            self._write("\a")

    def enter(self) -> None:
        """The window's title is ours for a while."""
        if self._wanted.title:
            self._write(PUSH_TITLE)
            self._title("ready")

    def leave(self) -> None:
        """It is what it was."""
        if self._wanted.title:
            self._write(POP_TITLE)

    def _title(self, words: str) -> None:
        if self._wanted.title:
            self._write(f"\x1b]2;{_plain(f'{NAME} · {words}')}\x07")


def _plain(text: str) -> str:
    """Text that ends no escape sequence and begins none."""
    return visible(text, keep_newlines=False)[:LONGEST].replace(";", ",")
