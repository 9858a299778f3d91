"""Whatever is painted, the terminal shows it, and gets no more than what changes."""

import random

import pytest
from rich.cells import cell_len
from rich.console import Console
from textual.pilot import Pilot

from tests.tui.conftest import Stager
from tests.tui.output.terminal import Terminal
from tui.app import QuantDuelApp
from tui.output.cells import Cells
from tui.output.changes import Writer

WIDTH, HEIGHT = 40, 6
PENS = [
    "",
    "1",
    "4;38;5;3",
    "38;2;1;2;3",
    "1;38;2;1;2;3;48;2;9;9;9",
    "2;3;97;40",
    "7",
    "48;2;9;9;9",
    "32;104",
]
TEXTS = ["a", "word ", " " * 13, "  x   y", "漢字", "e\u0301", "😀", "—━▁"]
DOUBTFUL = ["👨\u200d👩\u200d👧", "☀\ufe0f", "😀"]  # what terminals and Rich need not agree about


def place(row: int, column: int) -> str:
    return f"\x1b[{row + 1};{column + 1}H"


def styled(text: str, pen: str) -> str:
    return f"\x1b[{pen}m{text}\x1b[0m" if pen else text


def frame_of(seed: random.Random, texts: list[str]) -> str:
    """Some rows of some text, and where the cursor rests."""
    frame = ""
    for row in range(HEIGHT):
        if seed.random() < 0.5:
            continue
        column = seed.randrange(WIDTH // 2)
        frame += place(row, column)
        while True:
            text = seed.choice(texts)
            if column + cell_len(text) > WIDTH:
                break
            frame += styled(text, seed.choice(PENS))
            column += cell_len(text)
    return frame + place(seed.randrange(HEIGHT), seed.randrange(WIDTH))


def blank() -> str:
    return "\n".join(place(row, 0) + " " * WIDTH for row in range(HEIGHT)) + place(0, 0)


@pytest.mark.parametrize("erases", [True, False])
@pytest.mark.parametrize("number", range(20))
def test_the_terminal_shows_what_was_painted(number: int, erases: bool) -> None:
    seed = random.Random(number)
    cells, writer = Cells(), Writer(erases=erases)
    sparing, plain = Terminal(WIDTH, HEIGHT), Terminal(WIDTH, HEIGHT)
    for frame in [blank(), *(frame_of(seed, TEXTS) for _ in range(30))]:
        assert cells.paint(frame)
        plain.feed(frame)
        if seed.random() < 0.7:  # several pictures at once
            sparing.feed(writer.show(cells))
    sparing.feed(writer.show(cells))
    assert sparing.lines == plain.lines
    assert sparing.cells == plain.cells
    assert (sparing._row, sparing._column) == (plain._row, plain._column)


@pytest.mark.parametrize("number", range(10))
@pytest.mark.parametrize("thinks", [1, 2, 3])
def test_a_terminal_with_other_widths_is_wrong_nowhere_else(number: int, thinks: int) -> None:
    """It draws emoji too narrow or too wide; what stands a cell behind one, and all else, is right."""
    seed = random.Random(number)
    odd = set("😀👨👩👧☀")
    cells, writer = Cells(), Writer(erases=True)
    terminal = Terminal(WIDTH, HEIGHT, lambda text: thinks if text in odd else cell_len(text))
    for frame in [blank(), *(frame_of(seed, TEXTS + DOUBTFUL) for _ in range(20)), blank()]:
        cells.paint(frame)
        terminal.feed(writer.show(cells))
    assert terminal.lines == [" " * WIDTH] * HEIGHT
    cells.paint(place(1, 3) + "a😀b c" + place(0, 0))
    terminal.feed(writer.show(cells))
    assert terminal.lines[1].replace("😀", " ").split() == ["a", "b", "c"]


def test_what_stands_there_is_not_written() -> None:
    cells, writer = Cells(), Writer(erases=True)
    cells.paint(blank())
    writer.show(cells)
    cells.paint(place(2, 4) + styled("decode 12.5 tok/s", "1;38;2;1;2;3") + place(0, 0))
    writer.show(cells)
    cells.paint(place(2, 4) + styled("decode 12.7 tok/s", "1;38;2;1;2;3") + place(0, 0))
    assert writer.show(cells) == "\x1b[3;15H7\x1b[H".replace("\x1b[H", "\x1b[1H")
    cells.paint(place(2, 4) + styled("decode 12.7 tok/s", "1;38;2;1;2;3") + place(0, 0))
    assert writer.show(cells) == ""


def test_after_anything_else_nothing_is_taken_for_granted() -> None:
    cells, writer, terminal = Cells(), Writer(erases=True), Terminal(WIDTH, HEIGHT)
    cells.paint(blank() + place(1, 1) + styled("hello", "1;31") + place(1, 6))
    terminal.feed(writer.show(cells))
    terminal.feed("\x1b[4;4H\x1b[7mwho was that?")
    writer.forget()
    cells.crop(HEIGHT, WIDTH)
    terminal.feed(writer.show(cells))
    assert terminal.lines == [line.ljust(WIDTH) for line in ("", " hello", "", "", "", "")]


def test_a_smaller_terminal_gets_nothing_beyond_its_edge() -> None:
    cells, writer, terminal = Cells(), Writer(erases=False), Terminal(WIDTH // 2, HEIGHT - 2)
    cells.paint(blank())
    writer.show(cells)
    writer.forget()
    cells.crop(HEIGHT - 2, WIDTH // 2)
    written = writer.show(cells)
    terminal.feed(written)
    assert len(written) < (WIDTH // 2 + 10) * HEIGHT


def test_a_picture_for_the_size_before_changes_no_edge() -> None:
    cells, writer, terminal = Cells(), Writer(erases=False), Terminal(WIDTH // 2, HEIGHT - 2)
    cells.crop(HEIGHT - 2, WIDTH // 2)
    cells.paint(blank() + place(2, WIDTH // 2 - 3) + "ab漢字" + place(HEIGHT - 1, 3) + "outside")
    cells.paint(place(HEIGHT - 1, WIDTH - 1) + "x")
    terminal.feed(writer.show(cells))
    assert terminal.lines == [line.ljust(WIDTH // 2) for line in ("", "", " " * 17 + "ab", "")]
    assert cells.cursor == (HEIGHT - 3, WIDTH // 2 - 1)


@pytest.mark.parametrize(
    "written", ["\x1b[?1049h", "\x1b[3;4H\x1b[?25h", "\x1b]52;c;aGk=\x07", "\x07", "text"]
)
def test_what_is_no_picture_is_left_alone(written: str) -> None:
    cells = Cells()
    assert not cells.paint(written)
    assert not cells.changed


def picture(app: QuantDuelApp) -> str:
    """What Textual would write for the whole screen."""
    update = app.screen._compositor.render_full_update()
    return update.render_segments(Console(color_system="truecolor", force_terminal=True)) + place(0, 0)


async def test_the_duel_on_a_terminal(stage: Stager) -> None:
    cells, writer = Cells(), Writer(erases=True)
    sparing, plain = Terminal(120, 36), Terminal(120, 36)
    sizes: list[int] = []

    def show(app: QuantDuelApp) -> None:
        frame = picture(app)
        plain.feed(frame)
        assert cells.paint(frame)
        written = writer.show(cells)
        sparing.feed(written)
        sizes.append(len(written))
        assert sparing.cells == plain.cells

    async with stage() as play:
        await play.ready()
        show(play.app)
        await play.ask("hi")
        await play.settled()
        await play.pilot.pause()
        show(play.app)
        await _pressed(play.pilot, "f1")
        show(play.app)
        await _pressed(play.pilot, "escape")
        show(play.app)
        show(play.app)
    assert sizes[-1] == 0


async def _pressed(pilot: Pilot[None], key: str) -> None:
    await pilot.press(key)
    await pilot.pause()
