"""All sides in a line or two, where only one pane fits: each tab says how its side is doing."""

from collections.abc import Sequence

from textual import events
from textual.content import Content
from textual.message import Message
from textual.reactive import reactive
from textual.widgets import Static

from engine.duel.sides import LETTERS
from engine.sanitize import visible
from engine.units import share_text, speed_text
from tui.duel.colours import COLOURS, TEXT_COLOURS
from tui.duel.side import Side
from tui.widgets.pane_header import STATE_STYLES

LEAST_NAME = 5  # columns: less of a name tells nothing


class SideTabs(Static):
    """A | B, with state or speed; of more than two below the name."""

    DEFAULT_CSS = """
    SideTabs { height: 1; background: $surface; text-wrap: nowrap; }
    SideTabs.-many { height: 2; }
    """

    active: reactive[int] = reactive(0)
    sides: reactive[tuple[Side, ...]] = reactive((), always_update=True)

    class Chosen(Message):
        """The user wants to see this side."""

        def __init__(self, index: int) -> None:
            super().__init__()
            self.index = index

    def __init__(self, sides: Sequence[Side]) -> None:
        super().__init__()
        self.sides = tuple(sides)

    def watch_sides(self) -> None:
        """Another side has come, or has left."""
        self.set_class(len(self.sides) > 2, "-many")

    def render(self) -> Content:
        """Tabs of equal width."""
        if len(self.sides) == 2:
            return self._tab(0) + self._tab(1)
        tabs = [self._tall_tab(index) for index in range(len(self.sides))]
        return Content("\n").join(Content("").join(line) for line in zip(*tabs, strict=True))

    def on_click(self, event: events.Click) -> None:
        """The tab that was clicked."""
        self.post_message(self.Chosen(min(len(self.sides) - 1, event.x // self._width)))

    @property
    def _width(self) -> int:
        return max(1, self.size.width // len(self.sides))

    def _tall_tab(self, index: int) -> tuple[Content, Content]:
        """The letter and the name above, the state below: both readable in twelve columns."""
        side = self.sides[index]
        badge = Content(visible(side.label, keep_newlines=False))
        name = Content(visible(side.profile.name, keep_newlines=False))
        room = self._width - badge.cell_length - 6
        words = name.truncate(room, ellipsis=True) + "  " + badge if room >= LEAST_NAME else badge
        above = Content.assemble((f" {LETTERS[index]} ", f"bold {TEXT_COLOURS[index]}"), words)
        below = Content(" " + status_text(side, self._width - 1))
        return self._coloured(index, above), self._coloured(index, below)

    def _coloured(self, index: int, words: Content) -> Content:
        words = words.truncate(self._width, ellipsis=True)
        words = words.extend_right(max(0, self._width - words.cell_length))
        return words.stylize_before(
            f"bold {TEXT_COLOURS[index]} on $panel" if index == self.active else "$quiet"
        )

    def _tab(self, index: int) -> Content:
        side, colour = self.sides[index], COLOURS[index]
        width = self.size.width // 2
        status = Content(status_text(side))
        badge = Content(visible(f"  {side.label} {side.device}  ", keep_newlines=False))
        name = Content(visible(side.profile.name, keep_newlines=False))
        name = name.truncate(max(3, width - status.cell_length - badge.cell_length - 4), ellipsis=True)
        words = Content.assemble((f" {LETTERS[index]} ", "bold"), name, badge, status)
        words = words.truncate(width).extend_right(max(0, width - words.cell_length))
        return words.stylize(f"bold {colour} on $panel" if index == self.active else "$quiet")


def status_text(side: Side, room: int = 100) -> str:
    """The most telling word or figure about a side, in so many columns."""
    sign = STATE_STYLES.get(side.state, ("◌", ""))[0]
    figures = side.figures
    if side.state in {"ready", "answering"} and figures and figures.metrics.new_tokens:
        speed = figures.live_tok_s if side.state == "answering" else figures.metrics.decode_tok_s
        words = [f"{sign} {speed_text(speed)}", " contended" if figures.metrics.contended else ""]
        return "".join(words) if len("".join(words)) <= room else words[0]
    share = share_text(side.staged.done, side.staged.total) if side.is_loading and side.staged else ""
    return f"{sign} {side.state} {share}".rstrip()
