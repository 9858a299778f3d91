"""Both sides in one line, where only one pane fits: each tab says how its side is doing."""

from textual import events
from textual.content import Content
from textual.message import Message
from textual.reactive import reactive
from textual.widgets import Static

from engine.sanitize import visible
from engine.units import share_text, speed_text
from tui.duel.side import LETTERS, Side
from tui.widgets.pane_header import STATE_STYLES


class SideTabs(Static):
    """A | B, with state or speed."""

    DEFAULT_CSS = """
    SideTabs { height: 1; background: $surface; }
    """

    active: reactive[int] = reactive(0)

    class Chosen(Message):
        """The user wants to see this side."""

        def __init__(self, index: int) -> None:
            super().__init__()
            self.index = index

    def __init__(self, sides: list[Side]) -> None:
        super().__init__()
        self._sides = sides

    def render(self) -> Content:
        """Two tabs of equal width."""
        return self._tab(0) + self._tab(1)

    def on_click(self, event: events.Click) -> None:
        """The half that was clicked."""
        self.post_message(self.Chosen(0 if event.x < self.size.width // 2 else 1))

    def _tab(self, index: int) -> Content:
        side, colour = self._sides[index], ("$primary", "$accent")[index]
        width = self.size.width // 2
        status = Content(status_text(side))
        badge = Content(visible(f"  {side.label} {side.device}  ", keep_newlines=False))
        name = Content(visible(side.profile.name, keep_newlines=False))
        name = name.truncate(max(3, width - status.cell_length - badge.cell_length - 4), ellipsis=True)
        words = Content.assemble((f" {LETTERS[index]} ", "bold"), name, badge, status)
        words = words.truncate(width).extend_right(max(0, width - words.cell_length))
        return words.stylize(f"bold {colour} on $panel" if index == self.active else "$quiet")


def status_text(side: Side) -> str:
    """The most telling word or figure about a side."""
    sign = STATE_STYLES.get(side.state, ("◌", ""))[0]
    figures = side.figures
    if side.state in {"ready", "answering"} and figures and figures.metrics.new_tokens:
        speed = figures.live_tok_s if side.state == "answering" else figures.metrics.decode_tok_s
        return f"{sign} {speed_text(speed)}" + (" contended" if figures.metrics.contended else "")
    share = share_text(side.staged.done, side.staged.total) if side.is_loading and side.staged else ""
    return f"{sign} {side.state} {share}".rstrip()
