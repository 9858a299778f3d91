"""A terminal that knows what we write, and no more: the cursor's ways, colours, erasing. Anything else fails.

Its characters are as wide as it thinks they are, which need not be what Rich thinks.
"""

import re
from collections.abc import Callable

from rich.cells import cell_len

SEQUENCE = re.compile(
    r"\x1b\[(?P<row>\d+)(?:;(?P<column>\d+))?H"
    r"|\x1b\[(?P<steps>\d*)(?P<way>[ABCD])"
    r"|\x1b\[(?P<erased>\d+)X"
    r"|\x1b\[(?P<codes>[\d;]*)m"
    r"|\x1b\]8;(?P<link>[^\x1b]*)\x1b\\"
    r"|(?P<return>\r)"
    r"|(?P<newline>\n)"
    r"|(?P<text>[^\x1b\r\n]+)"
)
Cell = tuple[str, frozenset[str], str, str]
OFF = {"22": "12", "23": "3", "24": "4", "27": "7", "29": "9"}


class Terminal:
    """Cells of text, attributes, colour and ground."""

    def __init__(self, width: int, height: int, width_of: Callable[[str], int] = cell_len) -> None:
        self.width, self.height, self._width_of = width, height, width_of
        self._rows: list[list[Cell]] = [[("?", frozenset(), "", "")] * width for _ in range(height)]
        self._row = self._column = 0
        self._attributes: set[str] = set()
        self._colour = self._ground = self.link = ""

    def feed(self, written: str) -> None:
        """Take what was written."""
        end = 0
        for token in SEQUENCE.finditer(written):
            assert token.start() == end, f"not known: {written[end : token.start()]!r}"
            end = token.end()
            self._do(token)
        assert end == len(written), f"not known: {written[end:]!r}"

    @property
    def lines(self) -> list[str]:
        """The text of each row."""
        return ["".join(cell[0] for cell in row) for row in self._rows]

    @property
    def cells(self) -> list[list[Cell]]:
        """What is seen: an empty place has no colour of its own."""
        return [[_seen(cell) for cell in row] for row in self._rows]

    def _do(self, token: re.Match[str]) -> None:
        steps = int(token["steps"] or 1)
        match token.lastgroup:
            case "row" | "column":
                self._row, self._column = int(token["row"]) - 1, int(token["column"] or 1) - 1
            case "way":
                self._row += {"A": -steps, "B": steps}.get(token["way"], 0)
                self._column += {"C": steps, "D": -steps}.get(token["way"], 0)
            case "erased":
                for column in range(self._column, min(self.width, self._column + int(token["erased"]))):
                    self._put(column, " ", frozenset(), "")
                self._mend(column + 1)
            case "codes":
                self._pen(token["codes"])
            case "link":
                self.link = token["link"]
            case "return":
                self._column = 0
            case "text":
                for character in token["text"]:
                    self._print(character)

    def _print(self, character: str) -> None:
        width = self._width_of(character)
        if width == 0:
            text, *pen = self._rows[self._row][self._column - 1]
            self._rows[self._row][self._column - 1] = (text + character, *pen)  # type: ignore[assignment]
            return
        self._put(self._column, character, frozenset(self._attributes), self._colour)
        for column in range(self._column + 1, self._column + width):
            self._put(column, "", frozenset(self._attributes), self._colour)
        self._column = min(self.width, self._column + width)
        self._mend(self._column)

    def _mend(self, column: int) -> None:
        """The second half of a wide character without its first is a blank."""
        row = self._rows[self._row]
        if column < self.width and row[column][0] == "":
            row[column] = (" ", *row[column][1:])

    def _put(self, column: int, text: str, attributes: frozenset[str], colour: str) -> None:
        """A wide character of which one half is overwritten is gone."""
        row = self._rows[self._row]
        if column >= self.width:
            return
        if text and row[column][0] == "" and column:
            row[column - 1] = (" ", *row[column - 1][1:])
        row[column] = (text, attributes, colour, self._ground)

    def _pen(self, codes: str) -> None:
        left = iter(codes.split(";")) if codes else iter(["0"])
        for code in left:
            if code in {"38", "48"}:
                kind = next(left)
                colour = ";".join([code, kind, *(next(left) for _ in range(3 if kind == "2" else 1))])
                self._colour, self._ground = (
                    (colour, self._ground) if code == "38" else (self._colour, colour)
                )
            elif code == "0":
                self._attributes, self._colour, self._ground = set(), "", ""
            elif code in OFF:
                self._attributes -= set(OFF[code])
            elif code == "39":
                self._colour = ""
            elif code == "49":
                self._ground = ""
            elif len(code) == 1:
                self._attributes.add(code)
            else:
                is_ground = code.startswith(("4", "10"))
                self._colour, self._ground = (self._colour, code) if is_ground else (code, self._ground)


def _seen(cell: Cell) -> Cell:
    text, attributes, _, ground = cell
    if text.strip() or attributes & {"4", "7", "9"}:
        return cell
    return text, frozenset(), "", ground
