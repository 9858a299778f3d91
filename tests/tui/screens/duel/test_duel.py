"""The duel's screen on recorded runs."""

import re

import pytest
from msgspec.structs import replace
from textual import events
from textual.binding import Binding
from textual.dom import DOMNode
from textual.keys import _character_to_key as character_to_key
from textual.widgets import Input, OptionList, Static

from engine.config import profiles
from engine.protocol.answers import Finished
from engine.protocol.failure import Failed
from engine.protocol.wire import Event
from engine.recordings.recording import shipped
from engine.units import speed_text
from tests.tui import replay
from tests.tui.conftest import Stager
from tests.tui.replay import wait_until
from tui.duel.messages import SideLost, SidePutBy
from tui.screens.blind import BlindScreen
from tui.screens.duel.duel import DuelScreen
from tui.screens.help import HelpScreen
from tui.screens.profiles import ProfilePicker
from tui.widgets.delta import Delta
from tui.widgets.memory_bars import MemoryBars
from tui.widgets.notes import Notes
from tui.widgets.pane_header import PaneHeader
from tui.widgets.prompt import HINT, Prompt
from tui.widgets.side_tabs import SideTabs
from tui.widgets.speed_strip import SpeedStrip
from tui.widgets.top_bar import TopBar


async def test_both_answer_and_are_compared(stage: Stager) -> None:
    async with stage() as play:
        await play.ready()
        await play.ask("Three facts about Paris")
        await play.settled()
        await wait_until(lambda: play.duel.query_one(Delta).comparison)
        assert "capital of France" in play.text(0)
        assert "Louvre" in play.text(1)
        assert "nf4 against bf16" in play.delta
        assert re.search(r"decode ×\d\.\d\d   TTFT ×\d\.\d\d   weights ×0\.42", play.delta)
        assert "same input: 50 tokens, sha a3ceb4c8" in play.delta
        assert "diverge at token 5: “ the” | “ a”" in play.delta


async def test_the_figures_are_the_engines(stage: Stager) -> None:
    async with stage() as play:
        await play.ready()
        await play.ask("hi")
        await play.settled()
        answer = play.duel.bridge.duel.answers[0]
        strip = play.duel.panes[0].query_one(SpeedStrip).render().plain
        assert speed_text(answer.metrics.decode_tok_s) in strip
        assert "50 + 139" in strip
        bars = play.duel.panes[0].query_one(MemoryBars).render().plain
        for figure in ("256.6 MiB", "4.2 MiB", "796.4 MiB", "of 23.54 GiB"):
            assert figure in bars


async def test_what_slowed_an_answer_is_told_below_it(stage: Stager, monkeypatch: pytest.MonkeyPatch) -> None:
    slow, recorded = "other processes kept cores busy: computed on 1 of 2 threads", replay.recording

    def slowed(name: str) -> list[Event]:
        *events, last = recorded(name)
        return [*events, replace(last, notes=(slow,)) if isinstance(last, Finished) else last]

    monkeypatch.setattr(replay, "recording", slowed)
    async with stage() as play:
        await play.ready()
        await play.ask("hi")
        await play.settled()
        assert play.duel.panes[0].query(Notes).last().notes[0] == slow
        assert play.duel.bridge.duel.answers[1].notes == (slow,)
        assert "both slowed" in play.delta


async def test_notes_are_one_line_until_a_key_shows_them_and_are_told_again_only_when_they_change(
    stage: Stager,
) -> None:
    async with stage(size=(80, 24)) as play:
        await play.ready()
        for _ in range(2):
            await play.ask("hi")
            await play.settled()
        load, answer = play.duel.panes[1].query(Notes)
        speed, why = answer.notes
        assert speed == "Linear4bit, eager · 11.3 GB/s, 36% of what a copy reaches"
        assert why.startswith("36% of the bandwidth: a step moves data for only 3.")
        assert load.notes[0].startswith("smollm2-nf4") and "parameters" in load.notes[1]
        await play.pilot.press("ctrl+n")
        await wait_until(lambda: load.size.height == answer.size.height == 1)
        assert load.render().plain.startswith("▸ the demo comes as a 4-bit file")  # no name that stands above
        assert re.fullmatch(r"▸ Linear4bit, eager .* \+1 \(f12\)", answer.render().plain, re.IGNORECASE)
        await play.pilot.press("f12")
        await wait_until(lambda: answer.size.height > 2 and load.size.height > 1)
        assert "a step moves data" in answer.render().plain
        await play.pilot.press("f12")
        await wait_until(lambda: answer.size.height == 1)


async def test_both_sparklines_share_a_scale(stage: Stager) -> None:
    async with stage() as play:
        await play.ready()
        await play.ask("hi")
        await play.settled()
        fastest = max(speed for side in play.duel.sides for speed in side.figures.speeds_tok_s)
        await wait_until(lambda: {strip.top_tok_s for strip in play.duel.query(SpeedStrip)} == {fastest})


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


async def test_what_is_told_at_once_stands_below_its_turn(stage: Stager) -> None:
    async with stage() as play:
        transcript = play.duel.panes[0].transcript
        transcript.ask("Hi")
        transcript.note("cut at the limit")
        await play.pilot.pause()
        first, *_, last = transcript.query(".turn, .note").results(Static)
        assert str(last.content) == "cut at the limit" and "Hi" in str(first.content)


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


async def test_schedule_is_a_visible_choice(stage: Stager) -> None:
    async with stage() as play:
        await play.ready()
        bar = play.duel.query_one(TopBar)
        assert "one after the other" in bar.render().plain
        await play.pilot.press("ctrl+t")
        assert "both at once · speeds contended" in bar.render().plain
        await play.ask("hi")
        await play.settled()
        for pane in play.duel.panes:
            assert "contended" in pane.query_one(SpeedStrip).render().plain
        await wait_until(lambda: "contended" in play.delta)


async def test_clear_forgets_the_conversation(stage: Stager) -> None:
    async with stage() as play:
        await play.ready()
        await play.ask("one")
        await play.settled()
        await play.ask("two")
        await play.settled()
        assert len(play.sessions[0].asked[-1]) == 3
        await play.pilot.press("ctrl+l")
        await play.ask("three")
        await play.settled()
        assert len(play.sessions[0].asked[-1]) == 1
        assert "▌ three" in play.text(0)
        assert "▌ two" not in play.text(0)


async def test_copy_puts_the_answers_on_the_clipboard(stage: Stager) -> None:
    async with stage() as play:
        await play.ready()
        await play.ask("hi")
        await play.settled()
        await play.pilot.press("ctrl+g")
        assert "## smollm2-bf16" in play.app.clipboard
        assert "Louvre" in play.app.clipboard
        play.duel.panes[1].transcript.focus()
        await play.pilot.press("ctrl+g")
        assert "## " not in play.app.clipboard
        assert play.app.clipboard.startswith("1. Paris is a city")


@pytest.mark.parametrize(
    ("size", "panes", "tabs"),
    [((80, 24), 1, True), ((99, 40), 1, True), ((100, 30), 2, False), ((200, 50), 2, False)],
)
async def test_panes_become_tabs_where_it_is_narrow(
    stage: Stager, size: tuple[int, int], panes: int, tabs: bool
) -> None:
    async with stage(size=size) as play:
        await play.ready()
        await play.pilot.pause()
        assert sum(pane.region.width > 0 for pane in play.duel.panes) == panes
        assert (play.duel.query_one(SideTabs).region.height > 0) is tabs
        assert play.duel.query_one(Prompt).region.height >= 1
        assert play.duel.panes[0].transcript.region.height >= 8


async def test_tabs_tell_about_the_hidden_side(stage: Stager) -> None:
    async with stage(size=(80, 24), b={"answers": ["killed"]}) as play:
        await play.ready()
        await play.ask("hi")
        await play.settled()
        tabs = play.duel.query_one(SideTabs)
        assert "A smollm2-bf16  bf16 cpu  ● 101 tok/s" in tabs.render().plain
        assert "✗ failed" in tabs.render().plain
        await play.pilot.press("ctrl+n")
        assert [pane.region.width > 0 for pane in play.duel.panes] == [False, True]
        await play.pilot.click(SideTabs, offset=(2, 0))
        await wait_until(lambda: play.duel.panes[0].has_class("-active"))


async def test_resizing_keeps_everything(stage: Stager) -> None:
    async with stage(size=(120, 36)) as play:
        await play.ready()
        await play.ask("hi")
        await play.settled()
        before = play.text(0)
        await play.pilot.resize_terminal(80, 24)
        await play.pilot.resize_terminal(120, 36)
        # words, not lines: a scroll bar may have come or gone
        await wait_until(lambda: play.text(0).split() == before.split(), "the same words")


async def test_engine_text_is_shown_not_interpreted(stage: Stager) -> None:
    async with stage() as play:
        await play.ready()
        pane = play.duel.panes[0]
        pane.transcript.fail(Failed(kind="generation", message="[bold]boom[/] \x1b[31m", hint="[/x] \u202e"))
        await play.pilot.pause()
        assert "[bold]boom[/] ␛[31m" in play.text(0)
        assert "[/x] ⟨U+202E⟩" in play.text(0)


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


def test_recorded_profiles_are_shipped() -> None:
    assert {"smollm2-bf16", "smollm2-nf4"} <= set(profiles.available())
