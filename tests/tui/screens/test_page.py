"""Screens that are left at awkward moments: none of what they still do may end the application."""

import asyncio
import importlib
import inspect
import pkgutil
import re
import threading

import pytest
from textual import events
from textual.app import App
from textual.dom import DOMNode
from textual.screen import Screen
from textual.widgets import Input

import tui
from engine.duel.lens import NoLens
from tests.thorough import thorough
from tests.tui.conftest import Stager
from tests.tui.recorded_jobs import RecordedBench
from tests.tui.replay import Stage, wait_until
from tui.active import Key
from tui.ending import Ending
from tui.jobs.bench import BenchJob
from tui.screens import profiles
from tui.screens.blind import BlindScreen
from tui.screens.help import HelpScreen
from tui.screens.page import Page
from tui.screens.profiles import Fit, ProfilePicker

WAYS = [
    ["f2"],
    ["f3"],
    ["f5", "ctrl+o"],
    ["f5", "ctrl+r"],
    ["ctrl+o"],
]
MORE_WAYS = [
    ["f1"],
    ["f5"],
    ["f5", "f4"],
    ["f5", "ctrl+s"],
    ["f6"],
    ["f7"],
    ["f8"],
    ["ctrl+p"],
]
GAPS = (0, 1, 4, 16)  # turns of the loop between two keys


async def seen_nothing(_: object) -> NoLens:
    """A lens that takes a moment."""
    await asyncio.sleep(0)
    return NoLens(reason="not answered", message="nothing to see")


async def mash(play: Stage, keys: list[str], gap: int) -> None:
    """Press keys, each so many turns of the loop after the one before, and not when all is quiet."""
    for key in keys:
        play.app.post_message(events.Key(key, None))
        for _ in range(gap):
            await asyncio.sleep(0)


async def back(play: Stage) -> None:
    """Leave whatever lies above the duel."""
    while play.app.screen is not play.duel:
        await play.pilot.press("escape")


@pytest.mark.parametrize("way", [*WAYS, *thorough(MORE_WAYS)], ids="-".join)
async def test_every_screen_can_be_left_at_any_moment(
    stage: Stager, way: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    init = BenchJob.__init__
    monkeypatch.setattr(
        BenchJob, "__init__", lambda job, names, **more: init(job, names, RecordedBench, **more)
    )
    monkeypatch.setattr("tui.duel.bridge.look", seen_nothing)
    async with stage() as play:
        await play.ready()
        await play.ask("hi")
        await play.settled()
        for gap in GAPS:
            await mash(play, [*way, *["escape"] * len(way)], gap)
            await back(play)
        assert play.app.is_running


async def test_what_comes_after_a_dialog_is_gone_is_dropped(
    stage: Stager, monkeypatch: pytest.MonkeyPatch
) -> None:
    reading, may_end = threading.Event(), threading.Event()

    def judged(*_: object) -> Fit:
        reading.set()
        may_end.wait()
        return Fit(None, "")

    monkeypatch.setattr(profiles, "judged", judged)
    async with stage() as play:
        await play.ready()
        await play.pilot.press("ctrl+o")
        await wait_until(reading.is_set)
        picker = play.app.screen
        picker.dismiss()
        picker.query_one(Input).remove()  # the first of its widgets is gone already
        may_end.set()
        await wait_until(lambda: not picker.is_attached)
        assert play.app.is_running


@pytest.mark.parametrize("key", ["ctrl+l", "ctrl+r"])
async def test_an_answer_that_is_being_painted_can_go(stage: Stager, key: str) -> None:
    async with stage() as play:
        await play.ready()
        for gap in GAPS:
            await play.ask("hi")
            await wait_until(lambda: not play.duel.bridge.answering)
            await mash(play, [key, key], gap)
        await play.ready()
        await play.settled()


async def test_leaving_twice_is_leaving_once(stage: Stager) -> None:
    async with stage() as play:
        await play.ready()
        await play.pilot.press("ctrl+o")
        await wait_until(lambda: isinstance(play.app.screen, ProfilePicker) and play.app.screen.query(Input))
        await wait_until(lambda: play.app.screen.query_one("OptionList").option_count)  # type: ignore[attr-defined]
        play.app.screen.query_one(Input).value = "smollm2-bf16"
        await play.pilot.pause()
        await mash(play, ["enter", "enter"], 0)
        await wait_until(lambda: len(play.sessions) == 3)
        await play.ready()
        assert play.app.screen is play.duel
        assert len(play.sessions) == 3


async def test_a_screen_that_ends_takes_what_lies_above_it_along(stage: Stager) -> None:
    async with stage() as play:
        await play.ready()
        await play.pilot.press("f2")
        await wait_until(lambda: isinstance(play.app.screen, BlindScreen))
        blind = play.app.screen
        await play.pilot.press("f1")
        await wait_until(lambda: isinstance(play.app.screen, HelpScreen))
        blind.dismiss()
        await wait_until(lambda: play.app.screen is play.duel)


async def test_quitting_at_any_moment_ends_the_workers(stage: Stager) -> None:
    for keys in (["ctrl+q"], ["ctrl+o", "ctrl+q"], ["f5", "ctrl+q"], ["f2", "ctrl+q"]):
        for gap in (0, 4, 32):
            async with stage() as play:
                await mash(play, keys, gap)
                await wait_until(lambda play=play: not play.app.is_running)
            assert all(session.closed for session in play.sessions)


def classes() -> list[type]:
    """Every class of ours that Textual drives."""
    names = [found.name for found in pkgutil.walk_packages(tui.__path__, "tui.")]
    modules = [importlib.import_module(name) for name in names if name != "tui.__main__"]
    found = {cls for module in modules for cls in vars(module).values() if inspect.isclass(cls)}
    return [cls for cls in found if issubclass(cls, DOMNode) and cls.__module__.startswith("tui.")]


def test_whatever_works_in_the_background_ends_in_order() -> None:
    begins = re.compile(r"self\.run_worker\(|= Pacer\(")
    works = [cls for cls in classes() if begins.search(inspect.getsource(cls))]
    assert Ending in works
    assert not [cls for cls in works if not issubclass(cls, Ending | App)]
    assert not [cls for cls in classes() if issubclass(cls, Screen) and not issubclass(cls, Page)]


async def test_the_styles_of_screens_and_dialogs_hold(stage: Stager) -> None:
    async with stage() as play:
        await play.ready()
        await play.pilot.press("f5")
        await wait_until(lambda: play.app.screen.query("FigureTable"))
        assert play.app.screen.styles.background.a == 1
        await play.pilot.press("ctrl+o")
        await wait_until(lambda: play.app.screen.query(".dialog"))
        await wait_until(lambda: play.app.screen.query_one(".dialog").region.x > 0)  # in the middle
        assert 0 < play.app.screen.styles.background.a < 1


async def test_what_a_late_message_begins_on_a_screen_that_goes_is_not_done(stage: Stager) -> None:
    done = []

    async def late() -> None:
        done.append("late")

    async with stage() as play:
        await play.ready()
        screen = HelpScreen([Key("esc", "close", "help.dismiss")])
        play.app.push_screen(screen)
        await wait_until(lambda: play.app.screen is screen)
        screen._end()  # its children are about to go, and messages still come
        assert screen.work(late).is_cancelled
        await play.pilot.pause()
        assert not done


@pytest.mark.parametrize("event", [events.Key("enter", None), events.Paste("x")])
async def test_what_is_typed_after_the_last_screen_ends_nothing(stage: Stager, event: events.Event) -> None:
    async with stage() as play:
        screens = play.app._screen_stack
        kept = [*screens]
        screens.clear()
        await play.app.on_event(event)
        screens.extend(kept)
