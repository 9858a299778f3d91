"""A field of braille dots, eight a character, with a colour a character. Pure: knows no axis, no widget."""

from collections.abc import Iterator

DOTS_X, DOTS_Y = 2, 4
_BITS = ((0x01, 0x08), (0x02, 0x10), (0x04, 0x20), (0x40, 0x80))  # by row and column of a character's dots
_BRAILLE = 0x2800

Spot = tuple[str, str]
"""A character and its colour; a space where nothing is."""


class Raster:
    """Lines and signs on `width` × `height` characters. Places are shares of it, (0, 0) the lower left."""

    def __init__(self, width: int, height: int) -> None:
        self.width, self.height = width, height
        self._dots: dict[tuple[int, int], int] = {}
        self._signs: dict[tuple[int, int], str] = {}
        self._colours: dict[tuple[int, int], str] = {}

    def line(self, start: tuple[float, float], end: tuple[float, float], colour: str) -> None:
        """A straight line."""
        (x0, y0), (x1, y1) = self._dot(*start), self._dot(*end)
        steps = max(abs(x1 - x0), abs(y1 - y0), 1)
        for step in range(steps + 1):
            self._set(x0 + round((x1 - x0) * step / steps), y0 + round((y1 - y0) * step / steps), colour)

    def sign(self, place: tuple[float, float], sign: str, colour: str) -> None:
        """One character, over whatever is there."""
        cell = self.cell(place)
        self._signs[cell], self._colours[cell] = sign, colour

    def words(self, place: tuple[float, float], text: str, colour: str) -> None:
        """A text next to a place: to its right, or to its left where there is more room; only over blanks."""
        column, row = self.cell(place)
        start = column + 2 if column + 2 + len(text) <= self.width else column - 1 - len(text)
        cells = [(start + index, row) for index in range(len(text))]
        if start < 0 or any(cell in self._signs for cell in cells):
            return
        for cell, character in zip(cells, text, strict=True):
            self._signs[cell], self._colours[cell] = character, colour

    def rows(self) -> Iterator[list[Spot]]:
        """The characters of each row, the upper one first."""
        for row in range(self.height):
            yield [self._spot((column, row)) for column in range(self.width)]

    def cell(self, place: tuple[float, float]) -> tuple[int, int]:
        """The character at a place."""
        x, y = self._dot(*place)
        return x // DOTS_X, y // DOTS_Y

    def _dot(self, x: float, y: float) -> tuple[int, int]:
        right, low = self.width * DOTS_X - 1, self.height * DOTS_Y - 1
        return round(max(0.0, min(1.0, x)) * right), round((1 - max(0.0, min(1.0, y))) * low)

    def _set(self, x: int, y: int, colour: str) -> None:
        cell = x // DOTS_X, y // DOTS_Y
        self._dots[cell] = self._dots.get(cell, 0) | _BITS[y % DOTS_Y][x % DOTS_X]
        self._colours[cell] = colour

    def _spot(self, cell: tuple[int, int]) -> Spot:
        sign = self._signs.get(cell)
        if sign is None:
            sign = chr(_BRAILLE + self._dots[cell]) if cell in self._dots else " "
        return sign, self._colours.get(cell, "")
