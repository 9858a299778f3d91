"""From what a terminal shows to what it should show, in as few bytes as come to mind.

Cells that stay are jumped over, colours are named only where they change, and the cursor goes the shortest
way. Where terminals disagree about a character's width, the place is cleared before it and the cursor placed
again after it, so that a disagreement ends at the next cell.
"""

from rich.cells import get_character_cell_size

from tui.output.cells import UNKNOWN, Cells, Place, Row
from tui.output.pens import is_marked, of_blank, way

WORD = frozenset(map(chr, range(0x21, 0x7F)))
JUMP_FROM = 5  # unchanged cells; fewer are written again where the pen fits
ERASE_FROM, ERASE_LAST = 12, 6  # blanks; the cursor stays before what is erased, which matters but at the end


class Writer:
    """Makes one terminal show cells; knows what it shows, and where its cursor and pen are."""

    def __init__(self, *, erases: bool) -> None:
        self._erases = erases  # whether erased cells take the pen's ground
        self._shown: list[Row] = []
        self._place: Place | None = None
        self._pen: str | None = None
        self._written: list[str] = []

    def forget(self) -> None:
        """Nothing is known of what the terminal shows."""
        self._shown = []
        self.lose_place()

    def lose_place(self) -> None:
        """Something else was written: cursor and pen may be anywhere."""
        self._place = self._pen = None

    def show(self, wanted: Cells) -> str:
        """What makes the terminal show these cells."""
        self._written = []
        for number in sorted(wanted.changed):
            self._show_row(number, wanted.row(number))
        wanted.changed.clear()
        if self._written or self._place != wanted.cursor:
            self._go(wanted.cursor)
        return "".join(self._written)

    def _show_row(self, number: int, row: Row) -> None:
        while len(self._shown) <= number:
            self._shown.append(Row())
        shown = self._shown[number]
        shown.widen(len(row.texts))
        if shown.texts == row.texts and shown.pens == row.pens:
            return
        for start, end in self._stretches(row, _changed(row, shown)):
            self._go((number, start))
            column = start
            while column < end:
                if blanks := self._erasable(row, column, end):
                    self._erase(number, column, row.pens[column], blanks)
                    column += blanks
                elif word := _word(row, column, end):
                    self._write_word(number, column, word, row)
                    column += len(word)
                else:
                    self._write(number, column, row)
                    column += 1
        shown.texts[: len(row.texts)], shown.pens[: len(row.pens)] = row.texts, row.pens

    def _stretches(self, row: Row, changed: list[int]) -> list[tuple[int, int]]:
        """The changed columns in stretches that are written without a jump."""
        found: list[tuple[int, int]] = []
        begun, end = 0, -JUMP_FROM - 1  # of the stretch that grows
        for column in changed:
            if column <= end + JUMP_FROM and _one_pen(row, end - 1, column):
                end = column + 1
                continue
            if end > 0:
                found.append((begun, end))
            begun, end = column, column + 1
        if end > 0:
            found.append((begun, end))
        return found

    def _erasable(self, row: Row, start: int, end: int) -> int:
        """How many blanks from here on are better erased than written."""
        pen, column = row.pens[start], start
        if row.texts[start] != " " or not self._erases or is_marked(pen):
            return 0
        while column < end and row.texts[column] == " " and row.pens[column] == pen:
            column += 1
        return column - start if column - start >= (ERASE_LAST if column == end else ERASE_FROM) else 0

    def _erase(self, number: int, column: int, pen: str, count: int) -> None:
        self._go((number, column))
        self._take(pen, is_blank=True)
        self._written.append(f"\x1b[{count}X")

    def _take(self, pen: str, *, is_blank: bool) -> None:
        """Paint with this pen; one that leaves a blank cell as it should be is as good."""
        if not (is_blank and self._pen is not None and of_blank(self._pen) == pen):
            self._written.append(way(self._pen, pen))
            self._pen = pen

    def _write_word(self, number: int, column: int, word: str, row: Row) -> None:
        self._go((number, column))
        self._take(row.pens[column], is_blank=False)
        self._written.append(word)
        self._stand(number, column + len(word), row)

    def _stand(self, number: int, column: int, row: Row) -> None:
        """The cursor is there now; at the edge it may wait to wrap."""
        self._place = (number, column) if column < len(row.texts) else None

    def _write(self, number: int, column: int, row: Row) -> None:
        text, pen = row.texts[column], row.pens[column]
        if not text:  # the second half of a wide character
            return
        if text == UNKNOWN:
            return
        self._go((number, column))
        self._take(pen, is_blank=text == " ")
        width = 2 if column + 1 < len(row.texts) and not row.texts[column + 1] else 1
        if is_doubtful(text):
            self._written.append(" " * width)
            self._place = (number, column + width)
            self._go((number, column))
            self._written.append(text)
            self._place = None
            self._go((number, column + width))
            return
        self._written.append(text)
        self._stand(number, column + width, row)

    def _go(self, place: Place) -> None:
        if place != self._place:
            self._written.append(_jump(self._place, place))
            self._place = place


def _changed(row: Row, shown: Row) -> list[int]:
    """Columns to write, in order: what differs, wide characters whole, and what a doubtful one may cover."""
    texts = row.texts
    columns = {
        column
        for column, cell in enumerate(zip(texts, row.pens, shown.texts, shown.pens, strict=False))
        if cell[0] != cell[2] or cell[1] != cell[3]
    }
    if "".join(texts).isascii() and "".join(shown.texts).isascii() and "" not in texts:
        return sorted(columns)
    for column in list(columns):
        lead = column
        while lead > 0 and not texts[lead]:
            lead -= 1
        columns.add(lead)
        behind = lead + 1
        while behind < len(texts) and not texts[behind]:
            columns.add(behind)
            behind += 1
        if behind < len(texts) and (is_doubtful(texts[lead]) or is_doubtful(shown.texts[lead])):
            columns.add(behind)
    return sorted(columns)


def _word(row: Row, start: int, end: int) -> str:
    """The letters and signs of ASCII from here on that one pen writes."""
    texts, pens, pen, column = row.texts, row.pens, row.pens[start], start
    while column < end and texts[column] in WORD and pens[column] == pen:
        column += 1
    return "".join(texts[start:column])


def is_doubtful(text: str) -> bool:
    """Whether terminals disagree about the width: clusters, and what may be an emoji."""
    return (
        len(text) > 1
        or ("\u231a" <= text <= "\u2bff" and get_character_cell_size(text) == 2)
        or text >= "\U0001f000"
    )


def _one_pen(row: Row, start: int, end: int) -> bool:
    """Whether the cells from one to the other are known and can be written in the first one's pen."""
    pen = row.pens[start]
    if end == start + 1 and row.pens[end] == pen:
        return UNKNOWN not in row.texts[start:end]
    blank = of_blank(pen)
    return (
        all(
            row.pens[column] == pen or (row.texts[column] == " " and row.pens[column] == blank)
            for column in range(start + 1, end + 1)
        )
        and UNKNOWN not in row.texts[start:end]
    )


def _jump(old: Place | None, new: Place) -> str:
    """The shortest way for the cursor."""
    row, column = new
    ways = [f"\x1b[{row + 1};{column + 1}H" if column else f"\x1b[{row + 1}H"]
    if old is not None and old[0] == row:
        steps = column - old[1]
        ways.append(_steps(steps, "C", "D"))
        if column == 0:
            ways.append("\r")
    elif old is not None and old[1] == column:
        ways.append(_steps(row - old[0], "B", "A"))
    return min(ways, key=len)


def _steps(steps: int, ahead: str, back: str) -> str:
    count = abs(steps)
    return f"\x1b[{count if count > 1 else ''}{ahead if steps > 0 else back}"
