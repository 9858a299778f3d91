"""A recording on the screen: marked as one, nothing loaded or asked; paused, faster, skipped, again."""

from collections.abc import AsyncIterator

import pytest
from msgspec.structs import replace
from textual.widgets import Static

from engine.config.profile import Model
from engine.recordings.rebuilt import rebuilt
from engine.recordings.recording import INTERRUPTED, Recording, shipped
from tests.tui.replay import wait_until
from tui.active import commands_of, keys_of
from tui.replay_app import ReplayApp
from tui.screens.lens import LensScreen
from tui.screens.replay import ReplayBar, ReplayScreen
from tui.widgets.notes import Notes


@pytest.fixture(scope="module")
def recording() -> Recording:
    """The one that comes with QuantDuel, of models that are nowhere."""
    found = shipped()
    nowhere = [replace(each, model=Model(source="/no/such/folder")) for each in found.profiles]
    return replace(found, profiles=(nowhere[0], nowhere[1]))


@pytest.fixture
async def play(recording: Recording) -> AsyncIterator[ReplayScreen]:
    """All of it at once."""
    app = ReplayApp(recording, speed=0)
    async with app.run_test(size=(120, 36)):
        screen = app.duel_screen
        assert isinstance(screen, ReplayScreen)
        await _ended(screen)
        yield screen


async def _ended(screen: ReplayScreen) -> None:
    """Wait until all of it is played and painted."""
    await wait_until(lambda: "the end" in _bar(screen), "played")
    replies = [pane.transcript.reply for pane in screen.panes]
    await wait_until(lambda: all(reply and reply.settled for reply in replies), "painted")


def _bar(screen: ReplayScreen) -> str:
    return screen.query_one(ReplayBar).render().plain


async def test_the_answers_and_figures_are_those_that_were(play: ReplayScreen, recording: Recording) -> None:
    assert "● recording" in _bar(play) and "turn 2 of 2" in _bar(play)
    was = rebuilt(recording)[1]
    for side, pane in enumerate(play.panes):
        await wait_until(lambda pane=pane, side=side: pane.answer == was.answers[side].text)  # type: ignore[misc]
        assert pane.side.figures and pane.side.figures.metrics == was.answers[side].metrics
        assert pane.side.state == "ready"
    assert play.bridge.duel.answers[0].ending == was.answers[0].ending


async def test_its_keys_are_those_that_it_has(play: ReplayScreen) -> None:
    whats = {key.what for key in keys_of(play)}
    assert {"Pause", "Scroll the answers up", "every command by name"} <= whats
    assert not whats & {"", "ask", "a new line in the prompt"}
    palette = {command.title: command.help for command in commands_of(play)}
    assert palette["Scroll the answers up"] == "pgup"  # not the same words again
    note = play.query(Notes).last()
    assert note.render().plain.endswith("(f12)")
    await play.run_action("view")
    await wait_until(lambda: note.render().plain.startswith("▾"))


async def test_it_stands_still_goes_faster_and_ends(recording: Recording) -> None:
    app = ReplayApp(recording, speed=1.0)
    async with app.run_test(size=(80, 24)) as pilot:
        screen = app.duel_screen
        assert isinstance(screen, ReplayScreen)
        await wait_until(lambda: "turn 1 of 2" in _bar(screen))
        await pilot.press("space")
        assert "paused" in _bar(screen) and screen.pace.paused
        await pilot.press("space", "plus", "plus", "minus")
        assert screen.pace.speed == 2.0 and "×2" in _bar(screen)
        await pilot.press("enter")
        await _ended(screen)
        await pilot.press("r", "enter")
        await _ended(screen)
        await wait_until(lambda: len(screen.panes[0].transcript.query(".turn")) == 4)
        await _ended(screen)


async def test_the_lens_is_the_one_that_was_computed(recording: Recording) -> None:
    app = ReplayApp(replace(recording, turns=recording.turns[:1]), speed=0)
    async with app.run_test(size=(120, 36)) as pilot:
        screen = app.duel_screen
        assert isinstance(screen, ReplayScreen)
        await _ended(screen)
        await pilot.press("f3")
        await wait_until(lambda: isinstance(app.screen, LensScreen) and app.screen.lens is not None)
        assert isinstance(app.screen, LensScreen) and app.screen.lens == recording.turns[0].lens


async def test_a_side_without_a_model_is_not_to_be_loaded_again(recording: Recording) -> None:
    first = recording.turns[0]
    events = tuple(said for said in first.events if said[0] == 0)
    app = ReplayApp(replace(recording, turns=(replace(first, events=events),)), speed=0)
    async with app.run_test(size=(120, 36)):
        pane = app.duel_screen.panes[1]
        await wait_until(lambda: pane.side.state == "failed")
        failure = pane.transcript.query_one(".failure", Static)
        assert "no model on this side" in str(failure.content) and "again" not in str(failure.content)


async def test_an_answer_that_a_kill_cut_ends_as_one(recording: Recording) -> None:
    turn = recording.turns[0]
    app = ReplayApp(replace(recording, turns=(replace(turn, events=turn.events[:30]),)), speed=0)
    async with app.run_test(size=(120, 36)):
        screen = app.duel_screen
        assert isinstance(screen, ReplayScreen)
        await wait_until(lambda: "the end" in _bar(screen))
        failed = screen.bridge.duel.answers[0].failure
        assert failed and failed.message == INTERRUPTED.message
        await wait_until(lambda: (reply := screen.panes[0].transcript.reply) and reply.settled)
