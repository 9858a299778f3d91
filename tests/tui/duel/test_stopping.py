"""Esc while an answer cannot stop yet, and answers that did not end by themselves."""

import pytest
from msgspec.structs import replace
from textual.widgets import Static

from engine.protocol.answers import Finished
from engine.protocol.wire import Event
from tests.tui import replay
from tests.tui.conftest import Stager
from tests.tui.replay import Replay, wait_until
from tui.duel import bridge
from tui.widgets.pane_header import PaneHeader


@pytest.fixture
def cancels(monkeypatch: pytest.MonkeyPatch) -> list[Replay]:
    """Sessions that were cancelled; they are stopping until they are let go."""
    asked: list[Replay] = []

    def cancel(session: Replay) -> None:
        asked.append(session)
        session._exchange.is_stopping, session._cancelling = not session.go.is_set(), True

    monkeypatch.setattr(Replay, "cancel", cancel)
    return asked


async def test_the_screen_says_that_an_answer_is_stopping(
    stage: Stager, cancels: list[Replay], monkeypatch: pytest.MonkeyPatch
) -> None:
    async with stage(a={"hold": 2}) as play:
        await play.ready()
        await play.ask("hi")
        await wait_until(lambda: play.duel.sides[0].state == "reading")
        await play.pilot.press("escape", "escape")
        await wait_until(lambda: play.duel.sides[0].state == "stopping")
        assert len(cancels) == 2  # both sides, once: a key pressed twice ends no worker
        header = play.duel.panes[0].query_one(PaneHeader)
        assert "stopping … Esc again ends the worker" in header.render().plain
        monkeypatch.setattr(bridge, "PATIENCE_S", 0.0)
        await play.pilot.press("escape")
        assert len(cancels) == 4
        play.sessions[0].go.set()
        await play.settled()
        assert play.duel.sides[0].state == "cancelled"


@pytest.mark.parametrize("reason", ["length", "stop"])
async def test_an_answer_that_was_cut_says_so(
    stage: Stager, monkeypatch: pytest.MonkeyPatch, reason: str
) -> None:
    recorded = replay.recording

    def cut(name: str) -> list[Event]:
        *events, last = recorded(name)
        return [*events, replace(last, reason=reason) if isinstance(last, Finished) else last]

    monkeypatch.setattr(replay, "recording", cut)
    async with stage() as play:
        await play.ready()
        await play.ask("hi")
        await play.settled()
        told = [str(note.render()) for note in play.duel.panes[0].query(".-warning").results(Static)]
        assert any("the context is full" in line for line in told) is (reason == "length")
        cut = play.duel.bridge.duel.conversation.last
        assert cut and not play.duel.bridge.duel.resumable(cut)  # where there is no room, nothing goes on
