"""A model's thoughts, folded to one line that says how many there were."""

from __future__ import annotations

from typing import TYPE_CHECKING

from textual import events
from textual.app import ComposeResult
from textual.containers import Vertical
from textual.content import Content
from textual.widgets import Static

from engine.sanitize import visible
from engine.units import ms_text, speed_text

if TYPE_CHECKING:
    from engine.stats.metrics import Metrics

THINKING, OVER = "thinking …", "thoughts"
LONGEST = 50_000  # characters that are shown, the last ones


class Thoughts(Vertical):
    """Nothing where there are none; a click or the view key opens them."""

    DEFAULT_CSS = """
    Thoughts { height: auto; margin: 0 1; color: $quiet; display: none; }
    Thoughts.-there { display: block; }
    Thoughts.-away { display: none; }
    Thoughts .text { display: none; border-left: outer $panel; padding: 0 1; height: auto; }
    Thoughts.-open .text { display: block; }
    """

    def __init__(self) -> None:
        super().__init__()
        self._line, self._text = Static(classes="line"), Static(classes="text")
        self._words, self._said = "", THINKING

    def compose(self) -> ComposeResult:
        yield self._line
        yield self._text

    def show(self, text: str) -> None:
        """The thoughts so far."""
        self._words = text
        self.set_class(bool(text), "-there")
        self._repaint()

    def end(self) -> None:
        """They are over."""
        if self._said == THINKING:
            self._said = OVER
            self._repaint()

    def count(self, metrics: Metrics) -> None:
        """How many there were, and how long they took."""
        count, after = metrics.thought_tokens, metrics.answer_ttft_ms
        thoughts = f"{count} token{'' if count == 1 else 's'} of thoughts"
        speeds = (metrics.thought_tok_s, metrics.answer_tok_s)
        apart = f" · {speed_text(speeds[0])}, then {speed_text(speeds[1])}" if all(speeds) else ""
        self._said = f"{thoughts} · the answer began after {ms_text(after)}{apart}" if after else thoughts
        self._repaint()

    @property
    def is_open(self) -> bool:
        """Whether all of them are shown."""
        return self.has_class("-open")

    def open(self, is_open: bool) -> None:
        """Show all of them, or the one line."""
        self.set_class(is_open, "-open")
        self._repaint()

    def on_click(self, event: events.Click) -> None:
        event.stop()
        self.open(not self.is_open)

    def _repaint(self) -> None:
        self._line.update(Content(f"{'▾' if self.is_open else '▸'} {self._said}"))
        if self.is_open:
            self._text.update(Content(visible(self._words[-LONGEST:])))
