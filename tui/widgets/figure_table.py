"""A table of figures that fills in place: no column moves while figures come. Shows cells; computes none.

Where there is no room for all columns, those come first that matter most, and a line below names those that
are out of view.
"""

from collections.abc import Iterator, Mapping, Sequence
from itertools import accumulate

from rich.segment import Segment
from rich.style import Style
from rich.text import Text
from textual.color import Color
from textual.strip import Strip
from textual.widgets import DataTable

from engine.sanitize import visible
from engine.tables import Cell, Row
from engine.units import MISSING, digits

FREE = frozenset({"remarks"})  # the last column: nothing comes after it
PLAIN = {"remarks": "$text-warning", "log scale": "$accent"}
MARKS = {"✓": "$success", "✗": "$error", MISSING: "$quiet"}


class FigureTable(DataTable[Text]):
    """Rows of named cells; a profile's rows wear its colour."""

    DEFAULT_CSS = """
    FigureTable { height: 1fr; width: 1fr; background: transparent; scrollbar-size-horizontal: 0; }
    FigureTable.-cut { border-bottom: blank; border-subtitle-color: $quiet; border-subtitle-align: left; }
    FigureTable > .datatable--header { background: $surface; color: $quiet; text-style: none; }
    FigureTable > .datatable--fixed { background: transparent; }
    FigureTable > .datatable--cursor { background: $panel; text-style: none; }
    FigureTable > .datatable--hover { background: transparent; }
    FigureTable > .datatable--fixed-cursor { background: $panel; text-style: none; }
    """

    def __init__(self) -> None:
        super().__init__(cursor_type="row", zebra_stripes=False)
        self._given: tuple[Sequence[Row], Mapping[str, int], Mapping[str, str], Sequence[str]] = (
            (),
            {},
            {},
            (),
        )
        self._shown: list[list[str]] = []
        self._layout: list[tuple[str, int]] = []  # name and width of each column
        self._variables: Mapping[str, str] = {}  # the theme's colours and our own

    def show(
        self,
        rows: Sequence[Row],
        widths: Mapping[str, int],
        colours: Mapping[str, str],
        first: Sequence[str] = (),
    ) -> None:
        """Show these rows; what looks as before is left alone. `first` are the columns that matter most."""
        self._given = rows, widths, colours, first
        layout = _layout(rows, widths)
        if self._width_of(layout) > self._room > 0:
            layout.sort(key=lambda column: first.index(column[0]) if column[0] in first else len(first))
        names = [name for name, _ in layout]
        cells = [[_shown(row.get(name)) for name in names] for row in rows]
        if layout != self._layout or len(cells) != len(self._shown):
            self._rebuild(layout)
        for place, (row, texts) in enumerate(zip(rows, cells, strict=True)):
            self._show_row(place, row, texts, colours)
        self._shown = cells
        self._tell_hidden()

    def forget(self) -> None:
        """Lay out and colour everything again next time."""
        self._layout, self._variables = [], {}

    def on_resize(self) -> None:
        """More columns have room, or fewer."""
        self.show(*self._given)

    def watch_scroll_x(self, old_value: float, new_value: float) -> None:
        super().watch_scroll_x(old_value, new_value)
        self._tell_hidden()

    def render_line(self, y: int) -> Strip:
        """A figure is shown whole or not at all."""
        strip = super().render_line(y)
        for start, end in self._cut() if self.is_scrolled and self._layout else ():
            strip = _blank(strip, start, end)
        return strip

    def action_cursor_right(self) -> None:
        """Have the first column that is cut or out of view at the right be seen."""
        _, right = self._hidden
        if right:
            self.scroll_to(x=self._ends[right[0]] - self._room, animate=False)

    def action_cursor_left(self) -> None:
        """The same at the left."""
        left, _ = self._hidden
        if left:
            self.scroll_to(x=self._ends[left[-1] - 1] - self._ends[0], animate=False)

    @property
    def _room(self) -> int:
        return self.scrollable_content_region.width

    @property
    def _ends(self) -> list[int]:
        """Where each column ends, in cells."""
        return list(accumulate(width + 2 * self.cell_padding for _, width in self._layout))

    @property
    def _hidden(self) -> tuple[list[int], list[int]]:
        """The columns that are not wholly in view, at the left and at the right; the first always is."""
        ends, begin = self._ends, round(self.scroll_target_x)
        places = range(1, len(ends))
        left = [place for place in places if ends[place - 1] - begin < ends[0]]
        return left, [place for place in places if ends[place] - begin > self._room and place not in left]

    def _tell_hidden(self) -> None:
        left, right = self._hidden if self._room else ([], [])
        parts = [
            f"{where} {' · '.join(self._layout[place][0] for place in places)}"
            for where, places in (("to the left (←):", left), ("to the right (→):", right))
            if places
        ]
        self.set_class(bool(parts) and self.is_scrolled, "-cut")
        self.border_subtitle = Text("   ".join(parts)) if parts else ""

    @property
    def is_scrolled(self) -> bool:
        """Whether what is out of view can be scrolled to."""
        return bool(self.styles.overflow_x != "hidden")

    def _cut(self) -> Iterator[tuple[int, int]]:
        """From where to where columns of figures are seen in part."""
        (left, right), ends, begin = self._hidden, self._ends, round(self.scroll_target_x)
        if left:
            yield ends[0], max(ends[0], ends[left[-1]] - begin)
        if right and self._layout[right[0]][0] not in FREE and self._fits(right[0]):
            yield ends[right[0] - 1] - begin, self._room

    def _fits(self, place: int) -> bool:
        """Whether there is room for all of a column next to the first."""
        return self._ends[place] - self._ends[place - 1] + self._ends[0] <= self._room

    def _width_of(self, layout: Sequence[tuple[str, int]]) -> int:
        return sum(width + 2 * self.cell_padding for _, width in layout)

    def _rebuild(self, layout: list[tuple[str, int]]) -> None:
        self.clear(columns=True)
        self._layout, self._shown = layout, []
        self.fixed_columns = min(1, len(layout))
        for name, width in layout:
            self.add_column(Text(name if name in FREE else name.ljust(width)), width=width, key=name)

    def _show_row(self, place: int, row: Row, texts: list[str], colours: Mapping[str, str]) -> None:
        before = self._shown[place] if place < len(self._shown) else None
        if before == texts:
            return
        styles = [
            self._style(name, text, row, colours) for (name, _), text in zip(self._layout, texts, strict=True)
        ]
        cells = [Text(text, style=style) for text, style in zip(texts, styles, strict=True)]
        if before is None:
            self.add_row(*cells)
            return
        for column, cell in enumerate(cells):
            self.update_cell_at((place, column), cell)  # type: ignore[arg-type]

    def _style(self, name: str, text: str, row: Row, colours: Mapping[str, str]) -> Style:
        colour = PLAIN | {"profile": colours.get(str(row.get("profile")), "$foreground")}
        variable = colour.get(name, MARKS.get(text, "$foreground"))
        self._variables = self._variables or self.app.get_css_variables()
        return Style(color=_colour(self._variables, variable).rich_color)


def _blank(strip: Strip, start: int, end: int) -> Strip:
    """The strip without what stands from here to there."""
    start, end = min(start, strip.cell_length), min(end, strip.cell_length)
    if start >= end:
        return strip
    before, gone, after = strip.divide([start, end, strip.cell_length])
    style = next((segment.style for segment in gone), None)
    return Strip.join([before, Strip([Segment(" " * (end - start), style)], end - start), after])


def _colour(variables: Mapping[str, str], name: str) -> Color:
    """A theme's colour; one that says `auto` is the foreground's."""
    value = variables.get(name.removeprefix("$"), "")
    return Color.parse(variables["foreground"] if not value or value.startswith("auto") else value)


def _shown(cell: Cell) -> str:
    if cell is None:
        return MISSING
    return visible(digits(cell) if isinstance(cell, float) else str(cell), keep_newlines=False)


def _layout(rows: Sequence[Row], widths: Mapping[str, int]) -> list[tuple[str, int]]:
    names = list(rows[0]) if rows else []
    return [
        (name, max(len(name), widths.get(name, 0), *(len(_shown(row.get(name))) for row in rows)))
        for name in names
    ]
