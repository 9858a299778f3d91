"""The rows of a Markdown table: columns as wide as their text, narrowed and wrapped where they do not fit."""

from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass
from itertools import zip_longest
from typing import Literal

from markdown_it.token import Token
from textual.content import Content

Side = Literal["left", "center", "right"]
SIDES: dict[str, Side] = {"text-align:center": "center", "text-align:right": "right"}
GAP = "  "
NARROWEST = 4


@dataclass(frozen=True, slots=True)
class TableRow:
    """One row; `natural` widths and `sides`, where text stands, are the columns' of the whole table."""

    cells: tuple[Content, ...]
    natural: tuple[int, ...]
    sides: tuple[Side, ...]
    is_header: bool

    @property
    def key(self) -> Hashable:
        """What the row looks like."""
        return self.natural, self.sides, self.is_header, tuple(cell.plain for cell in self.cells)

    def lines(self, width: int) -> list[Content]:
        """The cells side by side; below the header a rule."""
        widths = column_widths(self.natural, width)
        columns = [
            cell.wrap(available) or [Content("")] for cell, available in zip(self.cells, widths, strict=False)
        ]
        lines = [_line(parts, widths, self.sides) for parts in zip_longest(*columns, fillvalue=Content(""))]
        if not self.is_header:
            return lines
        rule = GAP.join("─" * available for available in widths)
        return [*(line.stylize("bold") for line in lines), Content.assemble((rule, "$foreground 30%"))]


def table_rows(tokens: Sequence[Token], to_content: Callable[[Token], Content]) -> list[TableRow]:
    """The rows of a table's tokens; none where nothing stands in any cell."""
    rows: list[list[Content]] = []
    sides: list[Side] = []
    for token in tokens:
        if token.type == "tr_open":
            rows.append([])
        elif token.type == "th_open":
            sides.append(SIDES.get(str(token.attrGet("style")), "left"))
        elif token.type == "inline":
            rows[-1].append(to_content(token))
    if not any(cell.plain.strip() for row in rows for cell in row):
        return []
    columns = zip_longest(*rows, fillvalue=Content(""))
    natural = tuple(max(1, *(cell.cell_length for cell in column)) for column in columns)
    return [
        TableRow(tuple(cells), natural, tuple(sides), is_header=index == 0)
        for index, cells in enumerate(rows)
    ]


def column_widths(natural: Sequence[int], available: int) -> list[int]:
    """The natural widths, the widest narrowed first until all fit."""
    widths = list(natural)
    spare = available - len(GAP) * (len(widths) - 1)
    while sum(widths) > spare and max(widths) > NARROWEST:
        widths[widths.index(max(widths))] -= 1
    return widths


def _line(parts: Sequence[Content], widths: Sequence[int], sides: Sequence[Side]) -> Content:
    return Content(GAP).join(map(_padded, parts, widths, sides))


def _padded(part: Content, available: int, side: Side) -> Content:
    free = max(0, available - part.cell_length)
    left = {"left": 0, "center": free // 2, "right": free}[side]
    return Content(" " * left) + part.extend_right(free - left)
