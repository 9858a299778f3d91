"""Prompts and keys on recorded runs: asked, stopped, kept; where what is typed goes."""

import pytest
from textual import events
from textual.binding import Binding
from textual.dom import DOMNode
from textual.keys import _character_to_key as character_to_key

from tests.tui.conftest import Stager
from tests.tui.replay import wait_until
from tui.screens.blind import BlindScreen
from tui.screens.duel.duel import DuelScreen
from tui.screens.help import HelpScreen
from tui.screens.profiles import ProfilePicker
from tui.widgets.prompt import Prompt


async def test_escape_stops_both(stage: Stager) -> None:
    async with stage(a={"hold": 30}) as play:
        await play.ready()
        await play.ask("hi")
        await wait_until(lambda: play.duel.sides[0].state == "answering")
        await play.pilot.press("escape")
        await play.settled()
        assert [side.state for side in play.duel.sides] == ["cancelled", "cancelled"]
        assert all(side.loaded for side in play.duel.sides)


async def test_a_second_prompt_while_answering_stays_in_the_prompt(stage: Stager) -> None:
    async with stage(a={"hold": 30}) as play:
        await play.ready()
        await play.ask("one")
        await wait_until(lambda: play.duel.sides[0].state == "answering")
        await play.ask("two")
        await play.pilot.pause()
        assert play.duel.query_one(Prompt).text == "two"
        play.sessions[0].go.set()
        await play.settled()
        assert len(play.sessions[0].asked) == 1


@pytest.mark.parametrize("key", ["f1", "ctrl+p"])
async def test_help_and_palette_open_from_the_prompt(stage: Stager, key: str) -> None:
    async with stage() as play:
        await play.ready()
        await play.pilot.press(key)
        await wait_until(lambda: play.app.screen is not play.duel)
        if key == "f1":
            assert isinstance(play.app.screen, HelpScreen)
        await play.pilot.press("escape")
        await wait_until(lambda: play.app.screen is play.duel)


@pytest.mark.parametrize("owner", [DuelScreen, BlindScreen, Prompt, ProfilePicker, HelpScreen])
def test_every_binding_survives_ssh_and_tmux(owner: type[DOMNode]) -> None:
    """No chord that a terminal, tmux or flow control swallows or sends as another key."""
    taken = {"i", "m", "h", "q", "b", "a", "z", "[", "\\"}
    bindings = [binding for binding in owner.BINDINGS if isinstance(binding, Binding)]
    keys = [key for binding in bindings for key in binding.key.split(",")]
    assert keys
    assert not [key for key in keys if key.removeprefix("ctrl+") in taken and "ctrl+" in key]
    assert not [key for key in keys if "ctrl+shift" in key or "alt+" in key or "super+" in key]


async def test_ctrl_c_twice_quits_and_ends_the_workers(stage: Stager) -> None:
    async with stage() as play:
        await play.ready()
        await play.pilot.press("ctrl+c")
        assert play.app.is_running
        await play.pilot.press("ctrl+c")
        await wait_until(lambda: all(session.closed for session in play.sessions))


async def test_what_is_typed_anywhere_is_text(stage: Stager) -> None:
    async with stage() as play:
        await play.ready()
        await play.ask("hi")
        await play.settled()
        before = len(play.text(0))
        await play.pilot.click(play.duel.panes[0].transcript)
        assert play.duel.panes[0].transcript.has_focus
        text = "tell me more? brcpkjgGq 1234"
        for character in text:  # faster than anybody types: none may overtake another
            play.app.post_message(events.Key(character_to_key(character), character))
        prompt = play.duel.query_one(Prompt)
        await wait_until(lambda: prompt.text == text)
        play.duel.panes[1].transcript.focus()
        await play.pilot.pause()
        play.app.post_message(events.Paste(" [b]pasted\n"))
        await wait_until(lambda: prompt.text == text + " [b]pasted\n")
        assert play.app.screen is play.duel
        assert len(play.sessions) == 2 and len(play.text(0)) == before


async def test_a_long_prompt_is_asked_whole_and_shown_in_part(stage: Stager) -> None:
    async with stage() as play:
        await play.ready()
        prompt = "[b]word[/b]\n" * 1000
        await play.ask(prompt)
        await play.settled()
        assert play.sessions[0].asked[-1][-1].content == prompt
        assert f"… and {len(prompt) - 8000:,} more characters" in play.text(0)
        assert "[b]word[/b]" in play.text(0)
