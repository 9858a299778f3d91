"""Raw text, words that differ, search and single code blocks, key by key on recorded answers."""

import pytest
from msgspec.structs import replace
from textual.content import Content
from textual.widgets import Input, Static

from engine.protocol.answers import Decoded
from engine.protocol.wire import Event
from tests.tui import replay
from tests.tui.conftest import Stager
from tests.tui.replay import Stage, wait_until
from tui.markdown import plain
from tui.markdown.plain import Plain
from tui.screens.duel.find import FindDialog
from tui.widgets.transcript import Transcript


def raw(play: Stage, side: int) -> Plain:
    return play.duel.panes[side].transcript.query(Plain).last()


def written(play: Stage, side: int) -> Content:
    """What stands there, part below part."""
    return Content("\n").join([part.render() for part in raw(play, side).query(Static)])


async def test_views_go_round(stage: Stager, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(plain, "PART", 100)
    async with stage(size=(80, 24)) as play:
        await play.ready()
        await play.ask("hi")
        await play.settled()
        reply = play.duel.panes[0].transcript.reply
        assert reply and reply.display and not raw(play, 0).display
        await play.pilot.press("f12", "f12")  # thoughts and notes come first
        await wait_until(lambda: raw(play, 0).display and not reply.display)
        assert written(play, 0).plain == play.duel.bridge.duel.answers[0].text
        assert len(raw(play, 0).children) > 1
        await play.pilot.press("f12")
        await wait_until(lambda: written(play, 1).spans)
        await play.pilot.press("f12")
        await wait_until(lambda: reply.display and not raw(play, 1).display)
        await play.pilot.press("f12", "f12")
        await play.ask("again")
        await play.settled()
        assert reply.display


async def test_words_are_found_and_found_again(stage: Stager) -> None:
    async with stage(size=(80, 24)) as play:
        await play.ready()
        for prompt in ("first question", "second"):
            await play.ask(prompt)
            await play.settled()
        transcript = play.duel.panes[0].transcript
        places = []
        for _ in range(3):
            await play.pilot.press("ctrl+f")
            await wait_until(lambda: isinstance(play.app.screen, FindDialog))
            await play.pilot.pause()
            play.app.screen.query_one(Input).value = "CAPITAL of France"
            await play.pilot.press("enter")
            await wait_until(lambda: play.app.screen is play.duel)
            await play.pilot.pause()
            places.append(transcript.query(".-found").first())
        assert places[0] is not places[1] and places[2] is places[0]
        assert places[2].region.overlaps(transcript.region)
        await play.pilot.press("ctrl+f")
        await play.pilot.pause()
        play.app.screen.query_one(Input).value = "no such words"
        await play.pilot.press("enter")
        await wait_until(lambda: not transcript.query(".-found"))


async def test_words_in_code_are_found_line_by_line(stage: Stager, monkeypatch: pytest.MonkeyPatch) -> None:
    recorded = replay.recording

    def long_code(name: str) -> list[Event]:
        events = recorded(name)
        if not name.endswith("answer"):
            return events
        kept = [event for event in events if not isinstance(event, Decoded)]
        at = next(n for n, event in enumerate(events) if isinstance(event, Decoded))
        code = "```python\n" + "\n".join(f"line_{n} = {n}" for n in range(200)) + "\n```"
        return [*kept[:at], replace(events[at], text=code), *kept[at:]]

    monkeypatch.setattr(replay, "recording", long_code)
    async with stage(size=(80, 24)) as play:
        await play.ready()
        await play.ask("hi")
        await play.settled()
        transcript = play.duel.panes[0].transcript
        for query, shown in (("LINE_77 = 77", "line_77 = 77"), ("line_", "line_0 ="), ("line_", "line_1 =")):
            assert transcript.find(query)
            await wait_until(lambda shown=shown: first_lines(transcript, 3).count(shown) == 1, shown)
        assert not transcript.find("  ")


def first_lines(transcript: Transcript, lines: int) -> str:
    """What stands in the first lines of what is seen of it."""
    top, strips = transcript.content_region.y, transcript.screen._compositor.render_strips()
    return "\n".join(strip.text for strip in strips[top : top + lines])


async def test_a_code_block_is_copied_alone(stage: Stager) -> None:
    async with stage() as play:
        await play.ready()
        await play.ask("hi")
        await play.settled()
        await play.pilot.press("ctrl+g")
        assert "## smollm2-bf16" in play.app.clipboard
        await play.pilot.press("ctrl+g")
        assert play.app.clipboard.startswith("def add_two_numbers")
        assert "```" not in play.app.clipboard
