"""The rows of a Markdown table: columns as wide as their text, narrowed and wrapped where they do not fit."""

from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass
from itertools import zip_longest

from markdown_it.token import Token
from textual.content import Content

GAP = "  "
NARROWEST = 4


@dataclass(frozen=True, slots=True)
class TableRow:
    """One row; `natural` are the widths that the whole table's columns would like."""

    cells: tuple[Content, ...]
    natural: tuple[int, ...]
    is_header: bool

    @property
    def key(self) -> Hashable:
        """What the row looks like."""
        return self.natural, self.is_header, tuple(cell.plain for cell in self.cells)

    def lines(self, width: int) -> list[Content]:
        """The cells side by side; below the header a rule."""
        widths = column_widths(self.natural, width)
        columns = [cell.wrap(room) or [Content("")] for cell, room in zip(self.cells, widths, strict=False)]
        lines = [_line(parts, widths) for parts in zip_longest(*columns, fillvalue=Content(""))]
        if not self.is_header:
            return lines
        rule = GAP.join("─" * room for room in widths)
        return [*(line.stylize("bold") for line in lines), Content.assemble((rule, "$foreground 30%"))]


def table_rows(tokens: Sequence[Token], to_content: Callable[[Token], Content]) -> list[TableRow]:
    """The rows of a table's tokens."""
    rows: list[list[Content]] = []
    for token in tokens:
        if token.type == "tr_open":
            rows.append([])
        elif token.type == "inline":
            rows[-1].append(to_content(token))
    columns = zip_longest(*rows, fillvalue=Content(""))
    natural = tuple(max(1, *(cell.cell_length for cell in column)) for column in columns)
    return [TableRow(tuple(cells), natural, is_header=index == 0) for index, cells in enumerate(rows)]


def column_widths(natural: Sequence[int], room: int) -> list[int]:
    """The natural widths, the widest narrowed first until all fit."""
    widths = list(natural)
    spare = room - len(GAP) * (len(widths) - 1)
    while sum(widths) > spare and max(widths) > NARROWEST:
        widths[widths.index(max(widths))] -= 1
    return widths


def _line(parts: Sequence[Content], widths: Sequence[int]) -> Content:
    padded = [
        part.extend_right(max(0, room - part.cell_length)) for part, room in zip(parts, widths, strict=False)
    ]
    return Content(GAP).join(padded)
