"""Thoughts are one line with their count, which a key or a click opens."""

import pytest
from msgspec.structs import replace

from engine.protocol import Decoded, Event, Prompted, ThinkMarks
from tests.tui import replay
from tests.tui.conftest import Stager
from tests.tui.replay import wait_until
from tui.widgets.thoughts import Thoughts


@pytest.fixture(autouse=True)
def thinks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Both recorded answers begin with thoughts of three tokens."""
    recorded = replay.recording

    def thought(name: str) -> list[Event]:
        events = recorded(name)
        if not name.endswith("answer"):
            return events
        at = next(n for n, event in enumerate(events) if isinstance(event, Decoded))
        for place, text in enumerate(("<think>", "Paris?", "</think>"), at):
            events[place] = replace(events[place], text=text)
        marks = ThinkMarks(open="<think>", close="</think>")
        return [replace(e, think=marks) if isinstance(e, Prompted) else e for e in events]

    monkeypatch.setattr(replay, "recording", thought)


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
