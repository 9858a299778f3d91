"""The picker says what fits."""

from textual.widgets import OptionList, Static

from engine.machine import hardware
from tests.tui.conftest import Stager
from tests.tui.replay import wait_until
from tui.screens.profiles import judged


async def test_the_picker_says_what_fits(stage: Stager) -> None:
    async with stage() as play:
        await play.ready()
        await play.pilot.press("ctrl+o", *"random-tiny-nf4")
        fit = play.app.screen.query_one("#picker-fit", Static)
        await wait_until(lambda: "fits" in fit.render().plain and "KV cache" in fit.render().plain)
        option = play.app.screen.query_one(OptionList).highlighted_option
        assert option is not None and str(option.prompt).startswith("●")


def test_what_cannot_be_planned_is_said() -> None:
    machine = hardware.detect()
    assert judged("org/not-here", machine).verdict is None
    assert judged("random:llama-3.1-70b", machine).detail.startswith(("does not fit", "fits", "tight"))
