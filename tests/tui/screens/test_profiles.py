"""The picker says what fits."""

from threading import Event

import pytest
from textual import events
from textual.widgets import Input, OptionList, Static

from engine.machine import hardware
from tests.tui.conftest import Stager
from tests.tui.replay import wait_until
from tui.screens import profiles
from tui.screens.profiles import Entry, Fit, judged, ordered


async def test_the_picker_says_what_fits(stage: Stager) -> None:
    async with stage() as play:
        await play.ready()
        await play.pilot.press("ctrl+o")
        await wait_until(lambda: play.app.screen.query("ProfilePicker Input"))
        play.app.screen.query_one(Input).value = "random-tiny-nf4"  # a press waits while profiles are judged
        fit = play.app.screen.query_one("#picker-fit", Static)
        await wait_until(lambda: "fits" in fit.render().plain and "KV cache" in fit.render().plain)
        options = play.app.screen.query_one(OptionList)
        assert options.highlighted_option is not None
        assert str(options.highlighted_option.prompt).startswith("●")
        for key in ("ctrl+u", *"smol", "down", "down"):
            play.app.post_message(events.Key(key, key if len(key) == 1 else None))
        await wait_until(lambda: options.highlighted == 2, "the third of those that were typed")
        assert play.app.screen.query_one(Input).value == "smol"


async def test_enter_before_the_list_is_read_holds_once_it_is(
    stage: Stager, monkeypatch: pytest.MonkeyPatch
) -> None:
    read, entries = Event(), [Entry("broken", "", "", "fault")]
    monkeypatch.setattr(profiles, "read_entries", lambda: entries if read.wait(60) else [])
    async with stage() as play:
        await play.ready()
        await play.pilot.press("ctrl+o", *"random:none", "enter")
        read.set()
        fault = play.app.screen.query_one("#picker-fault", Static)
        await wait_until(lambda: getattr(play.app.screen, "_entries", ()))
        await wait_until(lambda: fault.display and "no shape named" in fault.render().plain)


def test_what_cannot_be_planned_is_said() -> None:
    machine = hardware.detect()
    assert judged("org/not-here", machine).verdict is None
    assert judged("random:llama-3.1-70b", machine).detail.startswith(("does not fit", "fits", "tight"))


async def test_what_is_in_use_is_first_then_what_is_here(stage: Stager) -> None:
    async with stage(size=(80, 24)) as play:
        await play.ready()
        await play.pilot.press("ctrl+o")
        options = play.app.screen.query_one(OptionList)
        await wait_until(lambda: options.option_count > 20)
        names = [str(option.id) for option in options.options]
        assert names[:2] == ["smollm2-bf16", "smollm2-nf4"]
        rows = [str(option.prompt) for option in options.options]
        fetched = [place for place, row in enumerate(rows) if "↓" in row or "⚷" in row]
        assert fetched and min(fetched) > max(n for n, name in enumerate(names) if name.startswith("smollm2"))
        original = rows[names.index("smollm2-gptq4-original")]
        assert "original" in original.split("gptq4", 2)[2]  # the method, to its end
        assert original.index("SmolLM2") == rows[0].index("SmolLM2")
        llama = rows[names.index("llama-3.1-8b-nf4")]
        assert "⚷" in llama or "↓" in llama


def test_the_order_is_use_place_fit_and_name() -> None:
    entries = [
        Entry("z", "", "", availability="to fetch"),
        Entry("b", "", ""),
        Entry("c", "", ""),
        Entry("a", "", ""),
    ]
    entries += [Entry("broken", "", "", "fault")]
    fits = {"a": Fit("does not fit", ""), "b": Fit("tight", ""), "c": Fit("fits", "")}
    assert [entry.name for entry in ordered(entries, ["z"], fits)] == ["z", "c", "b", "a", "broken"]
