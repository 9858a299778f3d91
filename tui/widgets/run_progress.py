"""How far long work is: a bar, what is done now, the time so far and the time left. Always two lines."""

import time
from typing import Literal

from textual.content import Content
from textual.widgets import Static

from engine.jobs.events import Advanced, JobEvent, how_far_text
from engine.sanitize import visible
from engine.units import calm_text
from tui.duel.figures import bar
from tui.widgets.load_progress import TICK_S

Mood = Literal["idle", "running", "done", "failed"]
STYLES: dict[Mood, str] = {
    "idle": "$quiet",
    "running": "$foreground",
    "done": "$text-success",
    "failed": "$text-error",
}
TOLD_FROM_S = 1.0  # of what ended at once no time is told


class RunProgress(Static):
    """A bar and a line of words."""

    DEFAULT_CSS = """
    RunProgress { height: 2; padding: 0 2; text-wrap: nowrap; text-overflow: ellipsis; }
    """

    def __init__(self) -> None:
        super().__init__()
        self._mood: Mood = "idle"
        self._words = ""
        self._share: float | None = None
        self._left_s: float | None = None
        self._began_s = self._told_s = time.monotonic()
        self._took_s: float | None = None

    def on_mount(self) -> None:
        self.set_interval(TICK_S, self._tick)

    def begin(self, words: str) -> None:
        """Work begins now."""
        self._began_s, self._share, self._left_s, self._took_s = time.monotonic(), None, None, None
        self.advance(words)

    def advance(self, words: str, share: float | None = None, left_s: float | None = None) -> None:
        """The work has come this far; a share that is not known now stays as it was."""
        self._mood, self._words = "running", words
        if share is not None:
            self._share, self._left_s, self._told_s = share, left_s, time.monotonic()
        self.refresh()

    def follow(self, event: JobEvent) -> None:
        """What the work reports."""
        if isinstance(event, Advanced):
            self.advance(event.words, event.share, event.left_s)
        else:
            self.advance(event.words)

    def end(self, words: str, mood: Mood) -> None:
        """The work is over, or has not begun; a time is told where any ran just before."""
        ran = self._mood == "running"
        self._took_s = time.monotonic() - self._began_s if ran else None
        self._share = 1.0 if mood == "done" else self._share if ran else None
        self._mood, self._words = mood, words
        self.refresh()

    def render(self) -> Content:
        """The bar, then the words at the left and the times at the right."""
        width = max(8, self.size.width)
        filled, empty = bar(self._share or 0.0, width)
        times = self._times()
        words = Content(visible(self._words, keep_newlines=False))
        words = words.truncate(max(4, width - len(times) - 2), ellipsis=True).stylize(STYLES[self._mood])
        gap = " " * max(1, width - words.cell_length - len(times))
        colour = {"done": "$success", "failed": "$error"}.get(self._mood, "$primary")
        return Content.assemble((filled, colour), (empty, "$faint"), "\n", words, gap, (times, "$quiet"))

    def _times(self) -> str:
        if self._mood != "running":
            return calm_text(self._took_s) if self._took_s and self._took_s >= TOLD_FROM_S else ""
        now_s = time.monotonic()
        left_s = None if self._left_s is None else self._left_s - (now_s - self._told_s)
        return f"{calm_text(now_s - self._began_s)}   {how_far_text(self._share, left_s)}".rstrip()

    def _tick(self) -> None:
        if self._mood == "running":
            self.refresh()
