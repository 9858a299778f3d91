"""A screen as cells: what Textual writes for a picture, read back into text and pen of each cell.

Knows the few sequences that Textual paints with. A wide character has its text in its first cell and none in
its second; a cell of which nothing is known holds UNKNOWN.
"""

import re
import sys

from rich.cells import split_graphemes

from tui.output.pens import PLAIN, of_blank

UNKNOWN = "\0"
Place = tuple[int, int]
"""Row and column, from 0."""
_TOKEN = re.compile(
    r"\x1b\[(?P<row>\d+);(?P<column>\d+)H"
    r"|\x1b\[(?P<pen>[\d;]+)m(?P<text>[^\x1b\n]*)\x1b\[0m"
    r"|\x1b\]8;(?P<link>[^\x1b]*)\x1b\\"
    r"|(?P<plain>[^\x1b\n]+)"
    r"|(?P<end>\n)"
    r"|(?P<other>\x1b)"
)


class Row:
    """A line of the screen."""

    __slots__ = ("pens", "texts")

    def __init__(self) -> None:
        self.texts: list[str] = []
        self.pens: list[str] = []

    def widen(self, width: int) -> None:
        """At least so many cells; what is added is not known."""
        more = width - len(self.texts)
        if more > 0:
            self.texts += [UNKNOWN] * more
            self.pens += [PLAIN] * more

    def put(self, column: int, text: str, pen: str) -> int:
        """Put text there and return the column after it."""
        texts = list(text) if text.isascii() else _clusters(text)
        end = column + len(texts)
        self.widen(end)
        self._part(column)
        self._part(end)
        self.texts[column:end] = texts
        blank = of_blank(pen)
        if blank == pen or " " not in texts:
            self.pens[column:end] = [pen] * len(texts)
        else:
            self.pens[column:end] = [blank if text == " " else pen for text in texts]
        return end

    def crop(self, width: int) -> None:
        """At most so many cells."""
        self._part(width)
        del self.texts[width:], self.pens[width:]

    def _part(self, column: int) -> None:
        """A wide character of which one half is overwritten leaves a blank."""
        if 0 < column < len(self.texts) and not self.texts[column]:
            self.texts[column - 1] = self.texts[column] = " "


class Cells:
    """Rows, as many as were painted, within the terminal's size where that is known.

    A picture can be of another size: Textual may still paint for the one before. A terminal would put what is
    outside at its edge.
    """

    def __init__(self) -> None:
        self._height = self._width = sys.maxsize
        self.rows: list[Row] = []
        self.changed: set[int] = set()
        """Rows that were painted since somebody emptied this."""
        self.cursor: Place = (0, 0)
        """Where the last picture left the cursor."""

    def row(self, number: int) -> Row:
        """The row; it is there afterwards."""
        while len(self.rows) <= number:
            self.rows.append(Row())
        return self.rows[number]

    def crop(self, height: int, width: int) -> None:
        """The terminal has another size: what lies outside is gone, and all of the rest is to be painted."""
        self._height, self._width = height, width
        del self.rows[height:]
        for row in self.rows:
            row.crop(width)
        self.changed = set(range(len(self.rows)))

    def paint(self, frame: str) -> bool:
        """Take a picture; False, and nothing is taken, where this is anything else."""
        tokens = list(_TOKEN.finditer(frame))
        if not tokens or tokens[0]["row"] is None or any(token["other"] for token in tokens):
            return False
        number = column = 0
        link = ""
        for token in tokens:
            match token.lastgroup:
                case "column":
                    number, column = max(0, int(token["row"]) - 1), max(0, int(token["column"]) - 1)
                case "text":
                    column = self._put(number, column, token["text"], token["pen"] + link)
                case "plain":
                    column = self._put(number, column, token["plain"], PLAIN + link)
                case "link":
                    link = "" if token["link"] == ";" else "\0" + token["link"]
        self.cursor = min(number, self._height - 1), min(column, self._width - 1)
        return True

    def _put(self, number: int, column: int, text: str, pen: str) -> int:
        """The column after it; nothing outside the terminal is kept."""
        if number >= self._height or column >= self._width:
            return column
        row = self.row(number)
        end = row.put(column, text, pen)
        row.crop(self._width)
        self.changed.add(number)
        return end


def _clusters(text: str) -> list[str]:
    """What each cell holds."""
    cells: list[str] = []
    for start, end, width in split_graphemes(text)[0]:
        if width:
            cells += [text[start:end], *[""] * (width - 1)]
        elif cells:
            cells[-1] += text[start:end]
    return cells
