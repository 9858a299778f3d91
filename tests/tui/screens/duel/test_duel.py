"""What the duel's screen shows of recorded runs."""

import re

import pytest
from msgspec.structs import replace
from textual.widgets import Static

from engine.protocol.answers import Finished
from engine.protocol.failure import Failed
from engine.protocol.wire import Event
from engine.units import speed_text
from tests.tui import replay
from tests.tui.conftest import Stager
from tests.tui.replay import wait_until
from tui.widgets.delta import Delta
from tui.widgets.memory_bars import MemoryBars
from tui.widgets.notes import Notes
from tui.widgets.prompt import Prompt
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


async def test_what_is_told_at_once_stands_below_its_turn(stage: Stager) -> None:
    async with stage() as play:
        transcript = play.duel.panes[0].transcript
        transcript.ask("Hi")
        transcript.note("cut at the limit")
        await play.pilot.pause()
        first, *_, last = transcript.query(".turn, .note").results(Static)
        assert str(last.content) == "cut at the limit" and "Hi" in str(first.content)


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
