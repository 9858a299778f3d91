"""An answer as a heat map: each token on a ground that is the redder, the less the other model expected it.

Lays out tokens itself, so that a cursor can walk over them. Shows readings; computes no probability.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from textual.app import ComposeResult
from textual.binding import Binding
from textual.containers import VerticalScroll
from textual.content import Content
from textual.geometry import Region
from textual.message import Message
from textual.widgets import Static

from engine.duel.lens import Reading, Token
from engine.duel.lens_text import HOTTEST_NATS, heat_step
from engine.duel.sides import LETTERS
from engine.sanitize import visible

STEPS = (0, 20, 35, 50, 65, 80)  # per cent of the colour
LINE_END = "⏎"


@dataclass(frozen=True, slots=True)
class Piece:
    """A token, or the part of one, at its place."""

    index: int
    text: str
    row: int
    column: int


class HeatMap(VerticalScroll):
    """One answer; the arrow keys move from token to token."""

    DEFAULT_CSS = """
    HeatMap { width: 1fr; height: 1fr; padding: 0 2; background: transparent; }
    HeatMap Static { height: auto; text-wrap: nowrap; }
    """
    BINDINGS = [
        Binding("left", "step(-1)", "Token", show=False),
        Binding("right", "step(1)", "Token", show=False),
        Binding("up", "line(-1)", "Line", show=False),
        Binding("down", "line(1)", "Line", show=False),
        Binding("n", "difference(1)", "Next difference"),
        Binding("p", "difference(-1)", "Previous"),
        Binding("home", "go(0)", "First", show=False),
        Binding("end", "go(-1)", "Last", show=False),
    ]

    class Moved(Message):
        """The cursor stands on another token."""

        def __init__(self, token: Token, reading: Reading) -> None:
            super().__init__()
            self.token, self.reading = token, reading

    def __init__(self, reading: Reading, start: int | None) -> None:
        super().__init__(id=f"heat-{LETTERS[reading.side].lower()}", classes="-other" if reading.side else "")
        self.reading = reading
        self._cursor = min(start or 0, max(0, len(reading.tokens) - 1))
        self._diverges_at = start
        self._pieces: list[Piece] = []

    def compose(self) -> ComposeResult:
        yield Static()

    def on_resize(self) -> None:
        self._lay_out()

    @property
    def token(self) -> Token | None:
        """The token under the cursor."""
        return self.reading.tokens[self._cursor] if self.reading.tokens else None

    def action_step(self, step: int) -> None:
        """The next token, or the one before."""
        self.go(self._cursor + step)

    def action_go(self, index: int) -> None:
        """The first or the last token."""
        self.go(index % max(1, len(self.reading.tokens)))

    def action_difference(self, step: int) -> None:
        """The next token at which the most likely tokens differ, or the one before."""
        places = [place for place in self.reading.different_top if (place - self._cursor) * step > 0]
        if places:
            self.go(min(places) if step > 0 else max(places))

    def action_line(self, step: int) -> None:
        """The token below, or above."""
        here = self._place()
        if here is None:
            return
        row = [piece for piece in self._pieces if piece.row == here.row + step]
        if row:
            self.go(min(row, key=lambda piece: abs(piece.column - here.column)).index)

    def go(self, index: int) -> None:
        """Put the cursor on a token."""
        self._cursor = max(0, min(index, len(self.reading.tokens) - 1))
        self._paint()
        if here := self._place():
            self.scroll_to_region(Region(0, here.row, 1, 1), animate=False)
        if token := self.token:
            self.post_message(self.Moved(token, self.reading))

    def _place(self) -> Piece | None:
        return next((piece for piece in self._pieces if piece.index == self._cursor), None)

    def _lay_out(self) -> None:
        self._pieces = laid_out(self.reading.tokens, max(8, self.scrollable_content_region.width - 4))
        self._paint()

    def _paint(self) -> None:
        lines: list[list[Content]] = [[] for _ in range(self._pieces[-1].row + 1 if self._pieces else 0)]
        for piece in self._pieces:
            lines[piece.row].append(Content.assemble((piece.text, self._style(piece.index))))
        self.query_one(Static).update(Content("\n").join(Content("").join(line) for line in lines))

    def _style(self, index: int) -> str:
        if index == self._cursor:
            return "bold $background on $foreground"
        surprise = -self.reading.tokens[index].views[self.reading.reader].log_prob
        edge = "bold underline " if index == self._diverges_at else ""
        return edge + heat(surprise)


def heat(surprise_nats: float) -> str:
    """The style of a token that surprised so much."""
    strength = STEPS[heat_step(surprise_nats)]
    return f"on $error {strength}%" if strength else ""


def scale_content() -> Content:
    """What the colours mean."""
    parts = [Content.assemble(("surprise of the other model  0 ", "$quiet"))]
    parts += [Content.assemble(("  ", f"on $error {step}%" if step else "on $panel")) for step in STEPS]
    return Content("").join([*parts, Content.assemble((f" {HOTTEST_NATS:g} nats and more", "$quiet"))])


def laid_out(tokens: Sequence[Token], width: int) -> list[Piece]:
    """The tokens in lines of at most `width` characters, broken between words where that is possible."""
    pieces: list[Piece] = []
    row = column = 0
    for word in _words(tokens):
        length = sum(len(text) for _, text, _ in word)
        if column and column + length > width:
            row, column = row + 1, 0
        for index, text, ends_line in word:
            for start in range(0, max(1, len(text)), width):
                part = text[start : start + width]
                if column and column + len(part) > width:
                    row, column = row + 1, 0
                pieces.append(Piece(index, part, row, column))
                column += len(part)
            if ends_line:
                row, column = row + 1, 0
    return pieces


def _words(tokens: Sequence[Token]) -> list[list[tuple[int, str, bool]]]:
    """(token, visible text, whether a line ends) grouped so that no word is torn."""
    words: list[list[tuple[int, str, bool]]] = []
    for token in tokens:
        parts = visible(token.text).replace("\t", "    ").split("\n")
        for place, part in enumerate(parts):
            ends_line = place < len(parts) - 1
            text = part + LINE_END if ends_line else part or ("" if place else "·")
            begins = place > 0 or text.startswith(" ") or not words or words[-1][-1][2]
            if begins:
                words.append([])
            words[-1].append((token.index, text, ends_line))
    return [[part for part in word if part[1]] for word in words if any(part[1] for part in word)]
