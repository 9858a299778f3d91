"""A line to write in that shows where its value goes on: `…` at an end that is out of view."""

from rich.cells import cell_len
from rich.segment import Segment
from textual.strip import Strip
from textual.widgets import Input

from tui.own_keys import OwnKeys

MORE = "…"


class LineInput(Input, OwnKeys):
    """Textual's, which cuts a long value without a sign."""

    def render_line(self, y: int) -> Strip:
        """The part in view; at the cursor stands what it is on, and no sign."""
        strip = super().render_line(y)
        width, begin = self.scrollable_content_region.width, round(self.scroll_offset.x)
        cursor = self._position_to_cell(self.cursor_position) - begin if self.has_focus else -1
        if y == 0 and begin and cursor != 0:
            strip = _signed(strip, 0)
        if y == 0 and cell_len(self.value) - begin > width and cursor != width - 1:
            strip = _signed(strip, width - 1)
        return strip


def _signed(strip: Strip, place: int) -> Strip:
    """The strip with the sign at this cell."""
    if not 0 <= place < strip.cell_length:
        return strip
    before, at, after = strip.divide([place, place + 1, strip.cell_length])
    style = next((segment.style for segment in at), None)
    return Strip.join([before, Strip([Segment(MORE, style)], 1), after])
