"""A table of figures that fills in place: no column moves while figures come. Shows cells; computes none."""

from collections.abc import Mapping, Sequence

from rich.style import Style
from rich.text import Text
from textual.color import Color
from textual.widgets import DataTable

from engine.sanitize import visible
from engine.tables import Cell, Row
from engine.units import MISSING

FREE = frozenset({"remarks"})  # the last column: nothing comes after it
PLAIN = {"remarks": "$text-warning", "log scale": "$accent"}
MARKS = {"✓": "$success", "✗": "$error", MISSING: "$quiet"}


class FigureTable(DataTable[Text]):
    """Rows of named cells; a profile's rows wear its colour."""

    DEFAULT_CSS = """
    FigureTable { height: 1fr; width: 1fr; background: transparent; scrollbar-size-horizontal: 1; }
    FigureTable > .datatable--header { background: $surface; color: $quiet; text-style: none; }
    FigureTable > .datatable--fixed { background: transparent; }
    FigureTable > .datatable--cursor { background: $panel; text-style: none; }
    FigureTable > .datatable--hover { background: transparent; }
    FigureTable > .datatable--fixed-cursor { background: $panel; text-style: none; }
    """

    def __init__(self) -> None:
        super().__init__(cursor_type="row", zebra_stripes=False)
        self._shown: list[list[str]] = []
        self._layout: list[tuple[str, int]] = []  # name and width of each column

    def show(self, rows: Sequence[Row], widths: Mapping[str, int], colours: Mapping[str, str]) -> None:
        """Show these rows; what looks as before is left alone."""
        cells = [[_shown(cell) for cell in row.values()] for row in rows]
        layout = _layout(rows, cells, widths)
        if layout != self._layout or len(cells) != len(self._shown):
            self._rebuild(layout)
        for place, (row, texts) in enumerate(zip(rows, cells, strict=True)):
            self._show_row(place, row, texts, colours)
        self._shown = cells

    def forget(self) -> None:
        """Lay out and colour everything again next time."""
        self._layout = []

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
        styles = [self._style(name, text, row, colours) for name, text in zip(row, texts, strict=True)]
        cells = [Text(text, style=style) for text, style in zip(texts, styles, strict=True)]
        if before is None:
            self.add_row(*cells)
            return
        for column, cell in enumerate(cells):
            self.update_cell_at((place, column), cell)  # type: ignore[arg-type]

    def _style(self, name: str, text: str, row: Row, colours: Mapping[str, str]) -> Style:
        colour = PLAIN | {"profile": colours.get(str(row.get("profile")), "$foreground")}
        variable = colour.get(name, MARKS.get(text, "$foreground"))
        return Style(color=_colour(self.app.theme_variables, variable).rich_color)


def _colour(variables: Mapping[str, str], name: str) -> Color:
    """A theme's colour; one that says `auto` is the foreground's."""
    value = variables.get(name.removeprefix("$"), "")
    return Color.parse(variables["foreground"] if not value or value.startswith("auto") else value)


def _shown(cell: Cell) -> str:
    if cell is None:
        return MISSING
    return visible(f"{cell:.3g}" if isinstance(cell, float) else str(cell), keep_newlines=False)


def _layout(
    rows: Sequence[Row], cells: Sequence[Sequence[str]], widths: Mapping[str, int]
) -> list[tuple[str, int]]:
    names = list(rows[0]) if rows else []
    longest = [max(len(line[column]) for line in cells) for column in range(len(names))]
    return [
        (name, max(len(name), widths.get(name, 0), width)) for name, width in zip(names, longest, strict=True)
    ]
