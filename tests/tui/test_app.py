"""What holds for every screen of the application."""

import pytest
from textual.app import ComposeResult
from textual.screen import Screen
from textual.widgets import Static

from engine.config import profile
from tests.tui.replay import wait_until
from tui.app import QuantDuelApp


class Still(Screen[None]):
    """A screen on which nothing happens by itself."""

    def compose(self) -> ComposeResult:
        yield Static("before")


async def test_what_changed_within_a_batch_is_painted_though_nothing_else_happens(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(QuantDuelApp, "get_default_screen", lambda _: Still())
    app = QuantDuelApp(profile.find("smollm2-bf16"), profile.find("smollm2-nf4"))
    async with app.run_test() as pilot:
        await pilot.pause()
        words = app.screen.query_one(Static)
        with app.batch_update():
            words.update("after")
            await wait_until(lambda: words in app.screen._dirty_widgets)
            await pilot.pause()
            assert words in app.screen._dirty_widgets  # the screen was idle, and painted nothing
        await wait_until(lambda: not app.screen._dirty_widgets)
