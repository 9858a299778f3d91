"""How far a load has come: a bar, bytes or layers, and the time so far. Hidden when nothing loads."""

import time

from textual.content import Content
from textual.widgets import Static

from engine.protocol.loading import Staged
from engine.sanitize import visible
from engine.session.progress import amount_text, step_text
from engine.units import calm_text, share_text
from tui.duel.figures import bar
from tui.duel.side import Side

TICK_S = 0.5


class LoadProgress(Static):
    """Two lines while a model is on its way."""

    DEFAULT_CSS = """
    LoadProgress { height: auto; padding: 0 2; margin: 0 0 1 0; display: none; }
    LoadProgress.-loading { display: block; }
    """

    def __init__(self, side: Side, colour: str) -> None:
        super().__init__()
        self._side = side
        self._colour = colour
        self._began_s = time.monotonic()

    def on_mount(self) -> None:
        self.set_interval(TICK_S, self._tick)

    def begin(self) -> None:
        """A load begins now."""
        self._began_s = time.monotonic()

    def show_side(self) -> None:
        """Follow the side's state."""
        self.set_class(self._side.is_loading, "-loading")
        self.refresh()

    def render(self) -> Content:
        """The bar, then what is being done to what."""
        staged = self._side.staged or Staged(stage="resolve")
        width = max(8, self.size.width)
        filled, empty = bar(staged.done / staged.total if staged.total else 0.0, width)
        elapsed = calm_text(time.monotonic() - self._began_s)
        parts = [self._side.state, amount_text(staged), share_text(staged.done, staged.total)]
        detail = Content(visible(step_text(staged), keep_newlines=False))
        head = Content(" · ".join(part for part in parts if part))
        available = width - head.cell_length - len(elapsed) - 4
        words = head + Content.assemble(
            "  ", detail.truncate(max(0, available), ellipsis=True).stylize("$quiet")
        )
        gap = " " * max(1, width - words.cell_length - len(elapsed))
        return Content.assemble(
            (filled, self._colour), (empty, "$faint"), "\n", words, gap, (elapsed, "$quiet")
        )

    def _tick(self) -> None:
        if self._side.is_loading:
            self.refresh()
