"""Thoughts are one line with their count, which a key or a click opens."""

import pytest

from tests.tui.conftest import Stager
from tests.tui.replay import wait_until
from tui.screens.history import HistoryScreen
from tui.widgets.thoughts import Thoughts

pytestmark = pytest.mark.usefixtures("thinks")


async def test_thoughts_are_folded_and_opened_with_a_key(stage: Stager) -> None:
    async with stage(size=(80, 24)) as play:
        await play.ready()
        await play.ask("hi")
        await play.settled()
        folded = play.duel.panes[0].query_one(Thoughts)
        await wait_until(lambda: "3 tokens of thoughts · the answer began after" in play.text(0))
        assert "▸" in play.text(0) and "<think>" not in play.duel.panes[0].answer
        assert not folded.query_one(".text").display
        await play.pilot.press("f12")
        await wait_until(lambda: folded.query_one(".text").display)
        assert "Paris?" in play.text(0)
        assert "Paris?" in play.duel.bridge.duel.answers[0].text


async def test_they_are_over_once_the_answer_begins(stage: Stager) -> None:
    async with stage(size=(80, 24), a={"hold": 20}) as play:
        await play.ready()
        await play.ask("hi")
        await wait_until(lambda: "▸ thoughts" in play.text(0))
        play.sessions[0].go.set()
        await play.settled()


async def test_those_of_a_reopened_duel_are_folded_too(stage: Stager) -> None:
    async with stage(size=(80, 24)) as play:
        await play.ready()
        await play.ask("hi")
        await play.settled()
        await play.pilot.press("ctrl+l", "f4")
        await wait_until(lambda: isinstance(play.app.screen, HistoryScreen) and play.app.screen.shown)
        await play.pilot.press("enter")
        await wait_until(lambda: play.app.screen is play.duel)
        await wait_until(lambda: "3 tokens of thoughts" in play.text(0))
        assert "<think>" not in play.text(0)
