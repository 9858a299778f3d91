"""The sides' models on recorded runs: loaded, lost, put by, picked anew."""

import re

from textual.widgets import Input, OptionList

from engine.protocol.failure import Failed
from engine.recordings.recording import shipped
from tests.tui.conftest import Stager
from tests.tui.replay import wait_until
from tui.duel.messages import SideLost, SidePutBy
from tui.screens.profiles import ProfilePicker
from tui.widgets.delta import Delta
from tui.widgets.pane_header import PaneHeader
from tui.widgets.prompt import HINT, Prompt


async def test_load_progress_is_shown_and_goes(stage: Stager) -> None:
    async with stage(b={"load_hold": 40}) as play:
        await wait_until(lambda: play.duel.sides[1].state == "quantizing" and play.duel.sides[1].staged.total)
        progress = play.duel.panes[1].query_one("LoadProgress")
        await wait_until(lambda: progress.has_class("-loading"))
        assert re.search(r"quantizing · .* of .* · \d+ %", progress.render().plain)
        play.sessions[1].go.set()
        await play.ready()
        await wait_until(lambda: not progress.has_class("-loading"))
        assert "ready" in play.duel.panes[1].query_one(PaneHeader).render().plain


async def test_a_prompt_waits_for_loading_and_can_be_taken_back(stage: Stager) -> None:
    async with stage(b={"load_hold": 40}) as play:
        await wait_until(lambda: play.duel.sides[0].state == "ready")
        prompt = play.duel.query_one(Prompt)
        await play.ask("early")
        assert prompt.text == ""
        await wait_until(lambda: str(prompt.placeholder) != HINT)
        play.duel.action_blind()  # both would ask as soon as the model is there
        play.duel.action_lens()
        assert play.app.screen is play.duel
        sides = play.duel.sides
        await play.duel.reopen(shipped(), 1, (0,))  # which would get the prompt
        assert play.duel.sides == sides
        await play.pilot.press("escape")
        assert prompt.text == "early"
        assert str(prompt.placeholder) == HINT
        play.sessions[1].go.set()
        await play.ready()
        assert play.duel.sides[1].loaded
        assert not play.sessions[0].asked


async def test_a_lost_side_says_so_and_comes_back(stage: Stager) -> None:
    async with stage(a={"answers": ["killed"]}) as play:
        await play.ready()
        await play.ask("hi")
        await play.settled()
        assert play.duel.sides[0].state == "failed"
        assert play.duel.sides[1].state == "ready"
        await wait_until(lambda: "the worker was killed (SIGKILL" in play.text(0))
        assert "load it again; log:" in play.text(0)
        assert "the capital" in play.text(0)
        await play.pilot.press("ctrl+r")
        await wait_until(lambda: len(play.sessions) == 3)
        await play.ready()
        assert play.duel.sides[0].loaded
        assert "the capital" in play.text(0)


async def test_a_failure_that_leaves_the_model_asks_for_no_load(stage: Stager) -> None:
    async with stage(a={"answers": ["killed"]}) as play:
        await play.ready()
        failed = Failed(kind="bad_input", message="the prompt has too many tokens")
        play.duel.panes[1]._fail(failed)
        side = play.duel.sides[1]
        side.take(SideLost(1, failed))
        assert (side.state, side.loaded, side.is_lost) == ("no answer", True, False)
        await play.ask("hi")
        await play.settled()
        await wait_until(lambda: "ctrl+r loads it again" in play.text(0))
        assert "too many tokens" in play.text(1) and "loads it again" not in play.text(1)


async def test_a_model_that_was_put_by_goes_on_with_its_conversation(stage: Stager) -> None:
    async with stage() as play:
        await play.ready()
        await play.ask("hi")
        await play.settled()
        play.duel.panes[0].take(SidePutBy(0, "one at a time"))
        play.duel.action_toggle_schedule()
        await wait_until(lambda: play.duel.sides[0].state == "ready")
        assert "goes on with smollm2-bf16" in play.text(0) and "a new conversation" not in play.text(0)
        assert len(play.duel.bridge.duel.conversations[0]) == 2
        transcript = play.duel.panes[0].transcript
        transcript.ask("what next?", 7)
        play.duel.panes[0].take(SidePutBy(0, "made room"))
        transcript.grow("an answer")
        await wait_until(lambda: "an answer" in play.text(0))
        words = ("hi", "one at a time", "what next?", "made room", "an answer")
        places = [play.text(0).index(word) for word in words]
        assert places == sorted(places), "above the answer that is to come, below the one that was complete"


async def test_a_worker_lost_while_idle(stage: Stager) -> None:
    async with stage() as play:
        await play.ready()
        play.sessions[1].died.set()
        await wait_until(lambda: play.duel.sides[1].state == "failed")
        await wait_until(lambda: "SIGKILL" in play.text(1))
        await play.ask("hi")
        await play.settled()
        assert len(play.sessions[0].asked) == 1
        assert play.duel.query_one(Delta).comparison is None


async def test_nobody_loaded_gives_the_prompt_back(stage: Stager) -> None:
    async with stage() as play:
        await play.ready()
        for session in play.sessions:
            session.died.set()
        await wait_until(lambda: all(side.state == "failed" for side in play.duel.sides))
        await play.ask("anyone?")
        await wait_until(lambda: play.duel.query_one(Prompt).text == "anyone?")


async def test_the_picker_swaps_a_side(stage: Stager) -> None:
    async with stage() as play:
        await play.ready()
        await play.pilot.press("ctrl+o")
        await wait_until(lambda: isinstance(play.app.screen, ProfilePicker))
        options = play.app.screen.query_one(OptionList)
        await wait_until(lambda: options.option_count > 5)
        await play.pilot.press("tab", *"smbf16")
        await wait_until(lambda: options.get_option_at_index(0).id == "smollm2-bf16", "fuzzy search")
        await play.pilot.press("enter")
        await wait_until(lambda: len(play.sessions) == 3)
        await play.ready()
        assert [side.profile.name for side in play.duel.sides] == ["smollm2-bf16", "smollm2-bf16"]
        assert play.sessions[1].closed
        await wait_until(lambda: "a new conversation with smollm2-bf16" in play.text(1))


async def test_a_wrong_profile_is_refused_in_the_picker(stage: Stager) -> None:
    async with stage() as play:
        await play.ready()
        await play.pilot.press("ctrl+o")
        await wait_until(lambda: isinstance(play.app.screen, ProfilePicker))
        play.app.screen.query_one(Input).value = "random:no-such-shape"
        await play.pilot.pause()
        await play.pilot.press("enter")
        fault = play.app.screen.query_one("#picker-fault")
        await wait_until(lambda: fault.display)
        assert "no shape named" in fault.render().plain
        await play.pilot.press("escape")
        assert len(play.sessions) == 2


async def test_ctrl_r_asks_before_it_ends_a_conversation(stage: Stager) -> None:
    async with stage() as play:
        await play.ready()
        play.duel.panes[1].transcript.focus()
        await play.pilot.press("ctrl+r")
        assert play.duel.sides[1].state == "ready"
        await play.pilot.press("ctrl+r")
        await wait_until(lambda: len(play.sessions) == 3)
        assert play.sessions[1].closed and not play.sessions[0].closed


async def test_the_pane_in_focus_is_the_one_that_is_picked_for(stage: Stager) -> None:
    async with stage() as play:
        await play.ready()
        await play.pilot.click(play.duel.panes[1].transcript)
        await play.pilot.press("ctrl+o")
        await wait_until(lambda: isinstance(play.app.screen, ProfilePicker))
        assert isinstance(play.app.screen, ProfilePicker) and play.app.screen.side == 1
