"""What is reported about a side besides its answers: one dim line, and the details on a key or a click.

Knows nothing of what is reported.
"""

from __future__ import annotations

from collections.abc import Sequence

from textual import events
from textual.content import Content
from textual.geometry import Size
from textual.widgets import Static

from engine.sanitize import visible

ACTION = "view"  # of the screen, which opens and folds all of them


class Notes(Static):
    """Folded, the beginning of the one that matters most; open, all of them, one below the other."""

    DEFAULT_CSS = """
    Notes { color: $quiet; margin: 0 1; height: auto; }
    """

    def __init__(self, notes: Sequence[str], *, is_open: bool = False) -> None:
        super().__init__()
        self.notes = list(notes)
        """What is reported, each in a line or more."""
        self._folded = ""  # the remark that is in the folded line; without one the first note is
        self._is_open = is_open

    def add(self, notes: Sequence[str], remarks: Sequence[str] = ()) -> None:
        """Report more; the first remark is what a reader of the folded line must know."""
        self.notes += [*notes, *remarks]
        self._folded = self._folded or next(iter(remarks), "")
        self.refresh(layout=True)

    def open(self, is_open: bool) -> None:
        """Show all of it, or the one line."""
        self._is_open = is_open
        self.refresh(layout=True)

    def on_click(self, event: events.Click) -> None:
        event.stop()
        self.open(not self._is_open)

    def get_content_height(self, container: Size, viewport: Size, width: int) -> int:
        """One line, or what the notes take."""
        return super().get_content_height(container, viewport, width) if self._is_open else 1

    def render(self) -> Content:
        """What is reported; the line says how much is folded away, and which key shows it."""
        lines = [visible(note) for note in self.notes]
        if self._is_open:
            return Content("\n").join(
                [Content(f"{'·' if place else '▾'} {line}") for place, line in enumerate(lines)]
            )
        first = " ".join((visible(self._folded) or "".join(lines[:1])).split())
        parts = (f"+{len(lines) - 1}" if len(lines) > 1 else "", f"({self._key})" if self._key else "")
        more = Content("".join(f" {part}" for part in parts if part))
        available = max(1, self.size.width - more.cell_length - 2)
        return Content("▸ ") + Content(first).truncate(available, ellipsis=True) + more

    @property
    def _key(self) -> str:
        """What opens them, as the footer has it."""
        keys = (active.binding for active in self.screen.active_bindings.values())
        return next((self.app.get_key_display(key) for key in keys if key.action == ACTION), "")
