"""Whatever size a terminal takes, on whatever screen, the application lives."""

import pytest
from textual.geometry import Size
from textual.widgets import OptionList, Static

from tests.thorough import thorough
from tests.tui.conftest import Stager
from tests.tui.replay import wait_until
from tui.app import LARGEST, SMALLEST, within
from tui.widgets.speed_strip import SpeedStrip

SIZES = [(1, 1), (3, 36), (30, 6), (300, 100)]
WAYS = [
    [],
    ["f2"],
    ["f5", "f4"],
    ["ctrl+e", "ctrl+s"],
    ["ctrl+o"],
]
MORE_WAYS = [
    ["f1"],
    ["f5"],
    ["f5", "ctrl+o"],
    ["f5", "ctrl+s"],
    ["f7"],
    ["f8"],
    ["f11"],
    ["ctrl+e"],
    ["f9"],
    ["ctrl+p"],
]


@pytest.mark.parametrize("way", [*WAYS, *thorough(MORE_WAYS)], ids="-".join)
async def test_every_screen_lives_at_every_size(stage: Stager, way: list[str]) -> None:
    async with stage() as play:
        await play.ready()
        await play.pilot.press(*way)
        for size in SIZES:
            await play.pilot.resize_terminal(*size)
            laid_out = within(Size(*size), SMALLEST, LARGEST)
            await wait_until(lambda laid_out=laid_out: play.app.screen.size == laid_out)
        assert play.app.is_running


async def test_a_terminal_resized_while_both_answer(stage: Stager) -> None:
    async with stage(a={"hold": 30}, b={"hold": 30}) as play:
        await play.ready()
        await play.pilot.press("ctrl+t")
        await play.ask("hi")
        await wait_until(lambda: play.duel.sides[0].state == "answering")
        for size in SIZES:
            await play.pilot.resize_terminal(*size)
        for session in play.sessions:
            session.go.set()
        await play.settled()
        await play.pilot.resize_terminal(120, 36)
        await wait_until(lambda: "Paris" in play.text(0))


async def test_it_starts_in_the_smallest_terminal(stage: Stager) -> None:
    async with stage(size=(1, 1)) as play:
        await play.ready()
        await play.ask("hi")
        await play.settled()


async def test_a_terminal_that_says_it_is_enormous_is_not_filled(stage: Stager) -> None:
    async with stage() as play:
        await play.ready()
        await play.pilot.resize_terminal(99_999_999, 99_999_999)
        await wait_until(lambda: play.app.screen.size == LARGEST)
        await play.pilot.resize_terminal(120, 36)
        await wait_until(lambda: play.app.screen.size == Size(120, 36))


@pytest.mark.parametrize("height", [12, 36])
async def test_figures_are_whole_or_not_there(stage: Stager, height: int) -> None:
    async with stage(size=(120, height)) as play:
        await play.ready()
        await play.ask("hi")
        await play.settled()
        for width in (40, 60, 99, 100, 160, 184, 200):
            await play.pilot.resize_terminal(width, height)
            await wait_until(lambda width=width: play.app.screen.size.width == width)
            await play.pilot.pause()
            for widget in play.app.screen.query("SpeedStrip, MemoryBars, Delta, TopBar, PaneHeader"):
                assert isinstance(widget, Static)
                painted = [strip.text.strip() for strip in widget.render_lines(widget.outer_size.region)]
                meant = [line.strip() for line in str(widget.render()).split("\n")]
                if widget.is_on_screen and painted:
                    assert painted[: len(meant)] == meant, (width, widget)
            strip = play.app.screen.query(SpeedStrip).first()
            assert "tok/s" in str(strip.render())


@pytest.mark.parametrize("way", [["ctrl+o"], ["f5", "ctrl+o"], ["f9"]], ids="-".join)
async def test_what_is_chosen_in_a_list_is_in_view(stage: Stager, way: list[str]) -> None:
    async with stage(size=(80, 18)) as play:
        await play.ready()
        await play.ask("hi")
        await play.settled()
        await play.pilot.press(*way)
        await wait_until(lambda: play.app.screen.query(OptionList))
        options = play.app.screen.query_one(OptionList)
        await wait_until(lambda: options.option_count > 5)
        await play.pilot.press("up")  # from the first to the last
        await wait_until(lambda: options.highlighted == options.option_count - 1)
        await play.pilot.pause()
        assert options.region.bottom <= play.app.screen.query_one(".dialog").content_region.bottom
        assert options.max_scroll_y == options.scroll_y or not options.max_scroll_y


async def test_every_field_of_a_dialog_comes_into_view(stage: Stager) -> None:
    async with stage(size=(80, 12)) as play:
        assert play.duel.panes[0].transcript.size.height >= 3
        await play.ready()
        await play.pilot.press("ctrl+e")
        await wait_until(lambda: play.app.screen.query("#set-schedule"))
        play.app.screen.query_one("#set-schedule").focus()
        frame = play.app.screen.query_one(".dialog")
        await wait_until(lambda: frame.content_region.contains_region(play.app.screen.focused.region))
